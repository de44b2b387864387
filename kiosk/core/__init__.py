"""The rules of a payment, free of I/O.

Time arrives as an argument, identifiers inside events, and wishes leave as effects.
`make contracts` fails the build if that stops being true.
"""
