"""What we ask of the product's own servers: to carry out a job, to hear what happened, to send a link to a human.

`executor` says what an executor of jobs promises, `placeholder` is the one of the sandbox, `calling` the one that calls
the product; `sender` sends links of claims; `door` makes the calls, `guarding` says which addresses may be called,
`names` looks them up, and `signing` signs and verifies as Standard Webhooks has it (https://www.standardwebhooks.com).
"""
