"""The payment process: one thread decides, helpers move data, the journal comes first."""
