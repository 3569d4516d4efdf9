"""What it means: agents and tokens, packs, quotes, purchases, fulfillment. The only place that knows rails and books.

Pure: `refusals` (every expected "no"), `packs` (what is sold), `attempts` (the state machine), `settlements` (does the
money agree with the quote), `posting_rules` (fact → transfers), `actions` (a rail's action as it is stored),
`bookings` (a line of the provider's balance → transfers), `judging` (what became of a fact), `scopes` (what an
operator key may do). Rows: `tables`, `operator_tables`, `reversal_tables`; how they are reached: `database`; new ids
and secrets: `fresh`. With PostgreSQL: `bearers` (whose a token is), `identity` (sign up, tokens, agents),
`untouched` (what may be taken over), `limits` (of an agent: what they keep it and its owner from),
`operator_keys` (the product next to the ledger), `operator_actions` (what operators did), `operating` (what they see),
`principals` (agent or operator), `spending` (a request as an operation), `asking` (of the books), `standing` (what a
refused one is told), `quotes`, `purchases` (buy), `requests` (what is sent to a provider, stored first), `handoff`
(the human's link), `catching_up` (books far behind), `pursuing` (what became of a request), `watching` (what is not
final), `looking` (again), `cancellations`, `sweeping` (what is open), `grants` (credits that are given), `caps` (what
an agent may spend), `fulfillment` (a payment becomes credits), `second_payments` (one that cannot), `transactions` and
`clearing` (what the provider's balance shows: fees, payouts), `facts` (whatever a provider says goes through here),
`status`, `activity` (events that are written), `feed` (those and the journal's spends), `foresight` (of a quota),
`proving`, `proofs`, `reversal_proofs` and `settlement_proofs` (billing and books agree). The package `reversals` takes
payments back. The package `settling` carries out payments that wallets have signed; their states stand in
`settlement_states`, their rows in `settling_tables`; `wallets` signs payers in, and `founding` says what waits for the
first sign-in. Humans: `claims` (how one comes to own an organization), `owning` (what it may do then), `claim_states`
(what agents are told of it), `feedback`, `erasing` (a contact is forgotten); their rows stand in `contact_tables`.
Work: `pricing` (pure: what an operation costs), the package `jobs` carries it out (`job_states`, `job_tables`;
`job_proofs`: jobs and books agree). The package `subscriptions` tells the product what happened; its rows stand in
`outbound_tables`.
"""
