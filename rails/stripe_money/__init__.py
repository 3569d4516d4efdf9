"""What becomes of money at Stripe after it settled: fees, refunds, disputes, warnings, payouts.

`messages` is pure; `reader` makes the calls. It stands beside the rails, for it reads the payments of all of them.
"""
