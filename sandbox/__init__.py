"""A pretend Stripe, in its own process and port, that the real `stripe` 16.1.0 client talks to. No real money.

    python -m sandbox --port 4242 [--host 127.0.0.1] [--state FILE] [--webhook-url URL --webhook-secret whsec_…]
        [--public-url URL] [--settle-delay S] [--balance-delay S] [--retry-base S] [--die-with-parent]

In process: `sandbox.app.create_app(SandboxConfig(...))`. It prints one line when it answers; `GET /healthz` is 200.
Any key that begins `sk_test_` or `rk_test_` is taken. Imports nothing of ours; reads no environment.

Map
    config, state, ids, fixtures(.json)      what it is told, remembers and starts from
    door, routes, parameters, forms,         the API: one door for every request, the table of routes,
      known_parameters.json, idempotency,      what stripe 16.1.0 knows, keys, error shapes,
      errors, paging, expansion                lists and expand[]
    checkout, payer                          sessions, and what the person on the hosted page does
    payment_intents, intents, deposits       intents: routes, life, crypto deposits and the pretend chain
    charges, balance, refunds, disputes, fraud_warnings, payouts, endpoints
    events, deliveries                       what happened, and the signed letters about it
    jobs, clockwork                          what falls due later, and the tick that does it
    faults                                   which request is to go wrong, and how
    browser, hosted_page                     `/c/pay/{id}`: the page and its buttons
    controls, aftermath, misbehaviour, orders  the routes below and their bodies
    app, parent, __main__                    the application, dying with the parent, the command line
    chain, wallet                            two programs of their own: a real chain with a USDC on it that is worth
                                               nothing, and a wallet that signs what a 402 asks for

Controls. JSON in and out, no key; refusals in Stripe's error shape; unknown fields are refused with 400.

    POST /sandbox/sessions/{id}/pay             as if clicked → the session. Body (optional):
                                                {"tax": cents, "discount": cents} alter the total;
                                                {"amount_subtotal", "amount_total", "currency", "livemode",
                                                "client_reference_id", "metadata", "payment_status"} are put
                                                into the letter as they are, {"payment_intent": {…}} into the
                                                PaymentIntent alone
    POST /sandbox/sessions/{id}/decline         the card is declined; stays open
    POST /sandbox/sessions/{id}/expire          now
    POST /sandbox/sessions/{id}/pay_delayed     a bank debit: complete, unpaid (body as for pay)
    POST /sandbox/sessions/{id}/settle_delayed  … it arrives (body: currency, livemode, payment_intent as for pay)
    POST /sandbox/sessions/{id}/fail_delayed    … it is returned
    POST /sandbox/payment_intents/{id}/settle   a deposit or delayed payment succeeds now → the intent. Body
                                                (optional): {"amount", "amount_received", "currency", "livemode",
                                                "metadata"}
    POST /sandbox/payment_intents/{id}/fail     back to requires_payment_method
    POST /sandbox/payment_intents/{id}/expire   canceled, reason `expired`
    POST /sandbox/wallet/transfers              {"network": "base", "token_currency": "usdc", "to": "0x…",
                                                "amount_atomic": "5000000", "from"?: "0x…"}
                                                → {"id", "transaction_hash", "matched", "reason",
                                                "payment_intent", …}; `reason` of an unmatched one:
                                                unknown_address, wrong_network, wrong_token, intent_not_open,
                                                wrong_amount. An intent made with accept_partial_funding takes
                                                any amount from a cent on: amount_received is what came
    GET  /sandbox/wallet/transfers              → {"transfers": […]}, newest first
    POST /sandbox/disputes                      {"charge" or "payment_intent", "amount"?, "reason"?,
                                                "inquiry"?: false, "withdraw"?: true} → the dispute;
                                                "withdraw": false leaves the money for …/withdraw
    POST /sandbox/disputes/{id}/respond         … is under review now
    POST /sandbox/disputes/{id}/escalate        an inquiry becomes a chargeback
    POST /sandbox/disputes/{id}/withdraw        the money goes
    POST /sandbox/disputes/{id}/prevent         ends `prevented`; only before money went
    POST /sandbox/disputes/{id}/win             {"fee_returned"?: false}; the amount comes back if it went
    POST /sandbox/disputes/{id}/lose
    POST /sandbox/disputes/{id}/appeal          a lost one is open again; then respond, win or lose
    POST /sandbox/fraud_warnings                {"charge" or "payment_intent", "fraud_type"?} → the early fraud
                                                warning
    POST /sandbox/refunds                       as in the Dashboard, without a key: {"payment_intent", "amount"?,
                                                "reason"?} → the refund
    PUT  /sandbox/refunds                       {"start"?: "pending" or "requires_action"}: how refunds from now on
                                                start, by whomever, staying so until told; nothing: by themselves
    POST /sandbox/refunds/{id}/settle|cancel    one under way
    POST /sandbox/refunds/{id}/fail             one under way or succeeded
    POST /sandbox/payouts                       {"automatic"?: true, "amount"? (manual only),
                                                "status"?: "paid"|"failed"} → the payout
    POST /sandbox/balance_transactions          {"amount", "fee"?: 0, "type"?: "stripe_fee",
                                                "reporting_category"?: "fee", "description"?} → a line of the
                                                balance without a source
    POST /sandbox/clock                         {"advance_seconds": n, "letters_too"?: false}: sessions expire, keys
                                                are forgotten, jobs fall due; with "letters_too" signatures of letters
                                                have that time too, for good, else the real one

    POST /sandbox/faults                        {"kind", "path", "method"?: "POST" or "*", "times"?: 1,
                                                "skip"?: 0, "seconds"?, "stored"?: true} → {"faults": […]};
                                                `path` may hold `*`
        error_503, error_429                      refused before anything; not stored under the key
        hang                                      no work; silence for `seconds` (30 unless told) or until the
                                                  client goes, then the connection breaks
        drop                                      no work; the connection breaks at once
        slow                                      works after `seconds` (1 unless told); meanwhile its key gets 409
        error_500                                 the endpoint began and failed: stored and replayed, as Stripe
                                                  does; "stored": false for one that a retry with its key survives
        card_declined, card_declined_like_400     refused with 402 or 400, code card_declined; stored
        lost_answer                               the work is done and stored, then the connection breaks, after
                                                  `seconds` of silence (none unless told)
        work_then_500                             the work is done, a 500 is answered and stored
    GET, DELETE /sandbox/faults                 those not used up; forget them
    PUT  /sandbox/deliveries                    {"mode", "delay_seconds"?: 1.0} for events made from now on:
                                                `normal`, `late` (after the delay), `twice`, `shuffled` (those of
                                                one window of the delay arrive together, newest first), `never`
                                                → mode, delay_seconds, waiting, finished
    GET  /sandbox/deliveries                    the same
    POST /sandbox/events/{id}/deliver           again, now, in any mode; body (optional) {"url"}
                                                → {"status_code", "deliveries": [{"target", "url",
                                                "status_code"}]}; null: no answer
    GET, DELETE /sandbox/calls                  every API request: at, request_id, method, path,
                                                idempotency_key, stripe_version, parameters, fault, status;
                                                oldest first, the last 2000
    GET  /sandbox/state                         {"objects": {kind: count}}

Faults, the delivery mode, how refunds start, the clock and the calls are forgotten at a restart; objects, letters
still out, jobs and idempotency keys are in the state file. Only ids, addresses and hashes are random: the same controls
in the same order move the same amounts. Promotion codes: SANDBOX10, SANDBOX50, SANDBOX100 (per cent off).
What Stripe knows and this does not play is refused with code `sandbox_not_played`, never ignored.
"""
