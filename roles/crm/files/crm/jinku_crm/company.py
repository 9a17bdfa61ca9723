# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that sales and opportunities need: a currency, a country, the company, accounts, and the administrator in it."""

import datetime as dt
from typing import Any

from jinku_crm.settings import Settings

CHART = ("account", "account_template_root_en")


def set_up(pool: Any, settings: Settings) -> None:
    """Make or update the company; in a transaction, see pool.run. What is there is kept."""
    from trytond.transaction import Transaction

    currency = _currency(pool)
    _country(pool)
    company = _company(pool, settings, currency)
    with Transaction().set_context(company=company.id):
        _accounts(pool, company)
        _payment_term(pool)
    _administrator(pool, settings, company)
    wizards = pool.get("ir.module.config_wizard.item")
    wizards.write(wizards.search([("state", "=", "open")]), {"state": "done"})  # they ask for what has just been set up


def in_chinese(record: Any, **names: str) -> None:
    """Translate fields of a record."""
    from trytond.transaction import Transaction

    with Transaction().set_context(language="zh_CN"):
        type(record).write([type(record)(record.id)], names)


def _currency(pool: Any) -> Any:
    Currency, Rate = pool.get("currency.currency"), pool.get("currency.currency.rate")
    for currency in Currency.search([("code", "=", "CNY")]):
        return currency
    (currency,) = Currency.create(
        [{"name": "Renminbi", "code": "CNY", "numeric_code": "156", "symbol": "¥", "rounding": "0.01", "digits": 2}]
    )
    Rate.create([{"currency": currency.id, "date": dt.date(2000, 1, 1), "rate": 1}])
    in_chinese(currency, name="人民币")
    return currency


def _country(pool: Any) -> None:
    Country = pool.get("country.country")
    if not Country.search([("code", "=", "CN")]):
        (country,) = Country.create([{"name": "China", "code": "CN", "code3": "CHN", "code_numeric": "156"}])
        in_chinese(country, name="中国")


def _company(pool: Any, settings: Settings, currency: Any) -> Any:
    Company, Party = pool.get("company.company"), pool.get("party.party")
    companies = Company.search([])
    if companies:
        company = companies[0]
        if (company.party.name, company.timezone) != (settings.company, settings.timezone):
            Party.write([company.party], {"name": settings.company})
            Company.write([company], {"timezone": settings.timezone})
        return company
    (party,) = Party.create([{"name": settings.company, "addresses": [("create", [{}])]}])
    (company,) = Company.create([{"party": party.id, "currency": currency.id, "timezone": settings.timezone}])
    return company


def _accounts(pool: Any, company: Any) -> None:
    """Tryton's minimal chart; a firm's accountant replaces it when invoices are to be posted here."""
    Account, Configuration = pool.get("account.account"), pool.get("account.configuration")
    if Account.search([("company", "=", company.id)], limit=1):
        return
    Wizard = pool.get("account.create_chart", type="wizard")
    session, _, _ = Wizard.create()
    wizard = Wizard(session)
    wizard.account.account_template = pool.get("account.account.template")(pool.get("ir.model.data").get_id(*CHART))
    wizard.account.company = company
    wizard.transition_create_account()

    def first(kind: str) -> int:
        return int(Account.search([(f"type.{kind}", "=", True), ("company", "=", company.id)], limit=1)[0].id)

    Configuration(1).write(
        [Configuration(1)],
        {
            "default_account_receivable": first("receivable"),
            "default_account_payable": first("payable"),
            "default_category_account_revenue": first("revenue"),
            "default_category_account_expense": first("expense"),
        },
    )


def _payment_term(pool: Any) -> None:
    Term = pool.get("account.invoice.payment_term")
    if Term.search([], limit=1):
        return
    line = {"type": "remainder", "relativedeltas": [("create", [{"days": 30}])]}
    (term,) = Term.create([{"name": "30 days", "lines": [("create", [line])]}])
    in_chinese(term, name="30 天")


def _administrator(pool: Any, settings: Settings, company: Any) -> None:
    """Give the first administrator a language, the company, and an employee, whom opportunities need."""
    User, Employee = pool.get("res.user"), pool.get("company.employee")
    Party, Language = pool.get("party.party"), pool.get("ir.lang")
    user = User.search([("login", "=", "admin")])[0]
    if user.company:
        return
    (party,) = Party.create([{"name": "Administrator", "addresses": []}])
    (employee,) = Employee.create([{"party": party.id, "company": company.id}])
    language = Language.search([("code", "=", settings.languages[0])])[0]
    User.write(
        [user],
        {
            "companies": [("add", [company.id])],
            "company": company.id,
            "employees": [("add", [employee.id])],
            "employee": employee.id,
            "language": language.id,
        },
    )
