"""The row over HTTP: `client` keeps connections open and sends raw requests, `processes` starts the two services,
`naive` is the service that does one transaction a request.
"""
