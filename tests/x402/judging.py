"""A requirement, a payment that agrees with it, and the protocol's words for those that do not."""

from datetime import UTC, datetime

from rails.evm import eip3009
from rails.evm.networks import BASE_SEPOLIA
from rails.x402.terms import Requirement, SignedPayment

PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
STRANGER = "0x857b06519E91e3A54538791bDbb0E22373e36b66"
AMOUNT = 1_000_000
TIMEOUT_S = 300
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
REQUIREMENT = Requirement(
    network=BASE_SEPOLIA.caip2,
    asset=BASE_SEPOLIA.token_address,
    amount_atomic=AMOUNT,
    pay_to=PAYEE,
    timeout_s=TIMEOUT_S,
    token_name="USDC",
    token_version="2",
)
AUTHORIZATION = eip3009.Authorization(STRANGER, PAYEE, AMOUNT, 0, int(NOW.timestamp()) + TIMEOUT_S, bytes(32))
PAYMENT = SignedPayment(AUTHORIZATION, b"\1" * 65, REQUIREMENT.wire(), None)
UNDEPLOYED = bytes.fromhex("6492" * 16)

BY_SIGNATURE = "invalid_exact_evm_payload_signature"
BY_SIMULATION = "invalid_exact_evm_transaction_simulation_failed"
BY_NONCE = "invalid_exact_evm_nonce_already_used"
BY_BALANCE = "invalid_exact_evm_insufficient_balance"
BY_AMOUNT = "invalid_exact_evm_payload_authorization_value_mismatch"
BY_RECIPIENT = "invalid_exact_evm_payload_recipient_mismatch"
BY_UNDEPLOYED = "invalid_exact_evm_payload_undeployed_smart_wallet"
TOO_LATE = "invalid_exact_evm_payload_authorization_valid_before"
TOO_EARLY = "invalid_exact_evm_payload_authorization_valid_after"
NOT_OURS = "invalid_payment_requirements"
