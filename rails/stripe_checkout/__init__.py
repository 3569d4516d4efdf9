"""The rail `stripe_checkout`: a human pays on Stripe's hosted page. `messages` is pure; `rail` makes the calls."""
