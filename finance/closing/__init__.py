"""A month is closed: what keeps it open is said, every book is closed under its lock, and the list of them is sealed.

`obstacles` (what must be done before), `walking` (through all books), `sealing` (close, and open again).
"""
