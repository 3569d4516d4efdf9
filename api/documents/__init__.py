"""Documents for agents, drawn from the tables that the code works with. Pure.

`api/http/routes/document.py` serves them.

- `particulars`: what a document says of this service: address, offer, methods, prices, limits, operations
- `operations`: a request that the service takes, as its route declares it
- `refused`: the refusals as tables and as examples, with exit codes
- `recorded`: answers of the real service, from `answers.json`, which a test run writes (`tests/documents/recording.py`)
- `summary`: `/llms.txt`
- `skill`: `/skill.md`, how to buy and spend, with every call; its parts `funding` and `spending`
- `client_commands`: `/cli.md`, the commands of the public client that work here
- `markdown`: tables and requests as text
"""
