"""`/api/v1`: meters, values, events, commands, accounts and bills for other programs (REST, JSON, RFC 9457 errors)."""
