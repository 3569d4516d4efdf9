"""What operators see of payments. Everything here reads and changes nothing.

`attempts` (every attempt, those that are stuck, one with all that belongs to it), `settlements` (payments that wallets
have signed), `refunds` (what was asked back and how far it is), `measures` (the numbers that alerts and metrics are
made of).
"""
