"""How tests draw their cases on a machine that stalls: a case, or the drawing of it, may take as long as it wants."""

from hypothesis import HealthCheck, settings

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
