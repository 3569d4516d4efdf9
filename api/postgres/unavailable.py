"""The one way in which the embedded PostgreSQL says no."""


class PostgresUnavailable(Exception):
    """There is no PostgreSQL to use; the message says what is wrong and what to do next, and holds no secret."""
