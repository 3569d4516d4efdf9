"""The rail `stripe_x402.exact.usdc`: a wallet sends USDC to a deposit address that Stripe watches.

`networks` is data, `messages` and `eip681` are pure, `addresses` checks what a wallet is told, `rail` makes the calls.
"""
