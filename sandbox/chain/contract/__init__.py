"""The contracts of the chain: a token that behaves as USDC where Purser relies on it, and a wallet of code."""
