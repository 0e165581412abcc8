"""Read models of the pages: joins over the store that belong to no single domain. They only read.

The web layer holds no other SQL; views call one of these or a domain service.
"""
