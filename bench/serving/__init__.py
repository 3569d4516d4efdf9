"""The rows over HTTP: `client` keeps connections open and sends raw requests, `processes` starts services and a chain,
`naive` is the service that does one transaction a request, `chain_clock` listens to what a chain is asked.
"""
