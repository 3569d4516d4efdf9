"""HTTP under `/v1`: every answer an envelope, every expected "no" from one table.

`app` puts it together; `doorway` is the outermost layer (trace id, headers, one log line a request); `context` is
what a request knows of its house and actor. Coming in: `receiving` (bodies, in time), `authentication` (bearer
tokens), `reading` (strict JSON and queries), `fields`, `fields_spending`, `fields_ledger`, `fields_people` (types and
models), `rate_limits` by `addresses` and organization. `posting` asks the books. Going out: `envelope`, `views/`
(rows → answers, pure), `streaming` (files), `refusal_answers` (errors → answers) with `recoveries`, `commands` (what to
run next) and `calls` (what to send where there is no command). `creating` takes orders of jobs (`fields_jobs`),
`links` go to humans. `routes/` are the handlers; `openapi` describes them.
"""
