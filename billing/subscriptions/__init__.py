"""Webhooks that we send to the product: who wants to be told, what is to be told, and telling it until it was heard.

`rules` says what an answer means and when to try again; `endpoints` makes, changes, disables and enables endpoints and
rotates their secrets; `spreading` makes deliveries of events, and `spends` of what stands in the journal only;
`delivering` sends what is due; `trying` sends test messages and sends a delivery again; `pruning` throws away what is
old; `listing` and `measures` say how all of it stands. An endpoint's row is locked before its deliveries.
"""
