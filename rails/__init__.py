"""How money reaches us. A rail turns an order into an action for the payer, and provider messages into facts.

`rail` is what every rail promises, and `money` what is read of money after it has settled. One folder a rail:
`stripe_checkout/` (a human pays on Stripe's page) and `stripe_x402/` (a wallet pays USDC to a deposit address of
Stripe's); `stripe_money/` reads the fees, refunds, disputes and payouts of both. In `x402/` a wallet signs a transfer
to our own treasury, which is carried out on the chain by us or a facilitator. `evm/` is no rail: it is what payments
on a chain share, the token's signed transfers and a node that is asked about them. `stripe_door` is the one place that
knows the `stripe` package, `stripe_errors` says what a failed call means, `stripe_pages` walks through lists,
`stripe_objects` is what all of them know of Stripe's objects; `health` remembers whether a provider serves.
"""
