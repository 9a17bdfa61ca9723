# SPDX-License-Identifier: GPL-3.0-or-later
"""Invented customers, leads and opportunities, for laboratories. Names and numbers are made up; 555 numbers belong to nobody."""

from decimal import Decimal
from typing import Any

#: (customer, city, telephone, opportunity, amount in CNY, state)
CUSTOMERS = (
    ("北京云杉科技示例公司", "北京", "+86 10 5550 0101", "客户关系系统一期", 480000, "opportunity"),
    ("上海海岚贸易示例公司", "上海", "+86 21 5550 0102", "年度维护合同", 96000, "lead"),
    ("深圳南星电子示例公司", "深圳", "+86 755 5550 0103", "数据迁移服务", 150000, "lead"),
    ("成都锦水软件示例公司", "成都", "+86 28 5550 0104", "培训与实施", 62000, "opportunity"),
    ("杭州之江制造示例公司", "杭州", "+86 571 5550 0105", "安全加固项目", 230000, "lead"),
)


def fill(pool: Any) -> None:
    """Create what is not there, by name; in a transaction, see pool.run."""
    from trytond.transaction import Transaction

    company = pool.get("company.company").search([])[0]
    employee = pool.get("company.employee").search([("company", "=", company.id)])[0]
    country = pool.get("country.country").search([("code", "=", "CN")])[0]
    with Transaction().set_context(company=company.id, employee=employee.id):
        for name, city, telephone, title, amount, state in CUSTOMERS:
            if pool.get("party.party").search([("name", "=", name)], limit=1):
                continue
            party = _party(pool, name, city, telephone, country)
            _opportunity(pool, party, title, Decimal(amount), state)
        _product(pool)


def _party(pool: Any, name: str, city: str, telephone: str, country: Any) -> Any:
    values = {
        "name": name,
        "addresses": [("create", [{"city": city, "country": country.id}])],
        "contact_mechanisms": [("create", [{"type": "other", "value": telephone}])],
    }
    return pool.get("party.party").create([values])[0]


def _opportunity(pool: Any, party: Any, title: str, amount: Decimal, state: str) -> None:
    Opportunity = pool.get("sale.opportunity")
    opportunity = Opportunity(party=party, address=party.addresses[0], description=title, amount=amount)
    opportunity.save()
    if state == "opportunity":
        Opportunity.opportunity([opportunity])


def _product(pool: Any) -> None:
    Template, Category = pool.get("product.template"), pool.get("product.category")
    if Template.search([("name", "=", "实施服务（示例）")], limit=1):
        return
    unit = pool.get("product.uom")(pool.get("ir.model.data").get_id("product", "uom_day"))
    (category,) = Category.create([{"name": "服务（示例）", "accounting": True}])
    Template.create(
        [
            {
                "name": "实施服务（示例）",
                "type": "service",
                "default_uom": unit.id,
                "salable": True,
                "sale_uom": unit.id,
                "list_price": Decimal(2000),
                "account_category": category.id,
                "products": [("create", [{"code": "DEMO"}])],
            }
        ]
    )
