"""Camera backends behind the port of `hardware.camera`."""
