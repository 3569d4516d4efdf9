"""The rail `x402.exact.usdc`: a wallet signs a transfer of USDC to us, and we see to it that it is carried out.

Pure, from below: `terms` has the words that all of it shares, `messages` reads and writes what the protocol says over
HTTP, and `signing_in` knows a wallet that comes back without its token. Above them `rail` keeps what every rail
promises, `verifying` asks the chain whether a signed payment would settle, `facilitator` has somebody else carry it
out, and `treasury` prepares what goes back to a payer. What becomes of a payment is `billing.settling`'s.
"""
