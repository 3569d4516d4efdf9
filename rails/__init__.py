"""How money reaches us. A rail turns an order into an action for the payer, and provider messages into facts.

`rail` is what every rail promises. One folder a rail: `stripe_checkout/` (a human pays on Stripe's page) and
`stripe_x402/` (a wallet pays USDC to a deposit address of Stripe's). `stripe_door` is the one place that knows the
`stripe` package, `stripe_errors` says what a failed call means, `stripe_objects` is what both rails know of Stripe's
objects; `health` remembers whether a provider serves.
"""
