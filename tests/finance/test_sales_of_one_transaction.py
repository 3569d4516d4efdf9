"""USDC that left the treasury in one transaction may be sold in parts, each of which names that transaction."""

from datetime import UTC, datetime

import pytest

from finance.treasury.pairing import Line, Sale, explained

AT = datetime(2026, 10, 10, 9, tzinfo=UTC)
NETWORK, HASH = "eip155:84532", "0x" + "a7" * 32


def went(amount: int, index: int = 0) -> Line:
    return Line(NETWORK, "0xa", HASH, index, False, amount, None, 7, None, None, None, None, AT)


def sale(reference: str, amount: int) -> Sale:
    return Sale(NETWORK, reference, amount, HASH, AT)


@pytest.mark.parametrize(
    ("sold", "went_out", "missing", "different"),
    [
        ({"A": 100}, [100], [], {}),
        ({"A": 60, "B": 40}, [100], [], {}),
        ({"A": 60, "B": 40}, [70, 30], [], {}),
        ({"A": 60, "B": 40}, [], ["A", "B"], {}),
        # The same sale told again under another reference, too little, too much.
        ({"A": 100, "B": 100}, [100], ["B"], {}),
        ({"A": 60, "B": 50}, [100], [], {"B": 40}),
        ({"A": 60, "B": 30}, [100], [], {"B": 40}),
        ({"A": 60}, [100], [], {"A": 100}),
        ({"A": 100, "B": 40}, [60], ["B"], {"A": 60}),
    ],
)
def test_sales_of_one_transaction_are_together_what_it_took_out(sold, went_out, missing, different):
    lines = [went(amount, index) for index, amount in enumerate(went_out)]
    done = explained(lines, [sale(reference, amount) for reference, amount in sold.items()])
    assert [one.reference for one in done.missing] == missing
    assert {one.reference: there for one, there in done.different} == different
    assert (done.matched, done.left) == (0 if missing or different else len(lines), [])
