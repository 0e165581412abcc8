"""Customers and their accounts: who may see what, and the row behind every configuration of the edge."""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.customers.model import Account, Customer, User


def account(conn: Connection, account_no: int) -> Account: ...


def list_accounts_for(conn: Connection, user: User) -> tuple[Account, ...]: ...


def find_accounts(conn: Connection, text: str, limit: int = 50) -> tuple[Account, ...]: ...


def may_see(conn: Connection, user: User, account_no: int) -> bool: ...


def customer(conn: Connection, customer_no: int) -> Customer: ...
