"""How an unknown box becomes a DCU with a name, a certificate and a role on the broker (reliability-security.md 3).

Read service.py first (the decisions), then ca.py (certificates), broker_admin.py (roles) and link.py (MQTT).
"""
