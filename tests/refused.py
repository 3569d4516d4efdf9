"""What an answer that refuses must be by the rule of its refusal, and where each refusal is provoked."""

import httpx

from billing.refusals import Refusal
from tests.service import error_of

ON_CHAIN = (
    Refusal.SIGN_IN_REFUSED,
    Refusal.PAYMENT_IDENTIFIER_CONFLICT,
    Refusal.PAYMENT_ALREADY_USED,
    Refusal.PAYER_BUSY,
    Refusal.PAYER_REFUSED,
    Refusal.WALLET_SIGN_IN_FIRST,
    Refusal.PAYMENT_REQUIRED,
    Refusal.PAYMENT_FAILED,
    Refusal.SIGN_IN_REQUIRED,
)
"""Given by a service on a chain alone, in `tests/x402/test_x402_refusals.py`; all others in `tests/flows`."""

OF_JOBS = (
    Refusal.DAILY_JOB_LIMIT_REACHED,
    Refusal.OPEN_JOBS_LIMIT_REACHED,
    Refusal.BUDGET_EXCEEDED,
    Refusal.CAPABILITY_UNAVAILABLE,
    Refusal.JOB_ENDED,
    Refusal.INPUT_POLICY_DENIED,
    Refusal.JOB_DEADLINE_PASSED,
    Refusal.PROVIDER_FAILURE,
    Refusal.ARTIFACT_STORAGE_WRITE_FAILED,
)
"""Given by a service that calls an executor, in `tests/flows/test_jobs_called_out.py`."""


def assert_answered_by_rule(answer: httpx.Response, refusal: Refusal) -> None:
    """Status, code, advice, waiting time, exit code and commands are those of the refusal's rule."""
    rule = refusal.rule
    error = error_of(answer, rule.http_status, refusal.code)
    assert error["retryable"] is rule.retryable
    recovery = error["recovery"]
    assert recovery["advice"] == rule.advice
    assert ("retry_after_seconds" in recovery) is rule.retryable
    assert ("retry-after" in answer.headers) is (rule.http_status in {429, 503})
    assert answer.headers.get("x-image-skill-exit-code") == (str(rule.exit_code) if rule.exit_code else None)
    for command in recovery.get("suggested_commands", []):
        assert command.startswith("image-skill ")
        assert "--api-base-url http://127.0.0.1:" in command
