"""How this box gets its name, keys and certificate (reliability-security.md 3.2, device side).

Read identity.py first (what the agent loads), then enrolment.py (the steps, pure), keys.py and link.py (files and MQTT).
Enrolment runs in a child process, because building X.509 requests costs memory the agent does not have to spare.
"""
