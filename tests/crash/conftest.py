from tests.x402.conftest import anvil_program, onchain

__all__ = ["anvil_program", "onchain"]
