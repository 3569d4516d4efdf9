"""The isolation matrix of paying over x402 without a chain; with one: `tests/x402/test_x402_isolation.py` has one."""

from tests.flows.matrix import Case, Private, Public

MATRIX: dict[str, list[Case]] = {
    "POST /v1/credit-purchases/x402": [Private()],
    # Who pays or signs in needs no account, and without a chain nobody can.
    "POST /v1/x402/top-up/{pack_id}": [Public(status=503)],
    "POST /v1/x402/sign-in": [Public(status=503)],
    # The link names one payment and tells its state alone: who has it may ask.
    "GET /v1/x402/payments/{payment_attempt_id}": [Public(status=404)],
}
