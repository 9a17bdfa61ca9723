# SPDX-License-Identifier: Apache-2.0
"""The request sheet for a network team: complete, readable in Excel, and harmless to open."""

import csv
import io

import openpyxl
import pytest

from jinku import cli
from jinku.cli.exit_codes import ExitCode
from jinku.model import Topology, load_environment
from jinku.model import flow_sheet as sheets

HEADINGS = list(sheets.COLUMNS)


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def of_csv(file):
    data = file.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf"), "Excel garbles Chinese without the byte order mark"
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))


def of_xlsx(file):
    rows = openpyxl.load_workbook(file).active.iter_rows(values_only=True)
    return [["" if cell is None else cell for cell in row] for row in rows]


@pytest.mark.parametrize(("name", "read"), [("request.csv", of_csv), ("request.xlsx", of_xlsx)])
def test_every_allowed_pair_is_asked_for_with_all_that_a_rule_needs(tmp_path, capsys, name, read):
    assert run("flows", "--env", "small", "--sheet", tmp_path / name) == 0
    topology = Topology.of(load_environment("small"))
    assert capsys.readouterr().out == f"{tmp_path / name}: {len(topology.allowed())} rows\n"
    heading, *rows = read(tmp_path / name)
    assert heading == HEADINGS
    asked = {(row[1], row[3], row[7], row[11], row[12]) for row in rows}
    assert asked == {
        (pair.id, pair.source, pair.destination, pair.protocol, str(pair.port)) for pair in topology.allowed()
    }
    row = dict(zip(HEADINGS, next(row for row in rows if row[1] == "crm>postgres" and row[3] == "crm1"), strict=True))
    crm, database = topology.node("crm1"), topology.node("db1")
    assert row["方向 Direction"] == "区域间 between zones"
    assert (row["源区域 Source site/zone"], row["目的区域 Destination site/zone"]) == ("a/app", "a/data")
    assert (row["源 IPv4 Source IPv4"], row["源 IPv6 Source IPv6"]) == tuple(map(str, crm.addresses))
    assert (row["目的 IPv4 Destination IPv4"], row["目的 IPv6 Destination IPv6"]) == tuple(map(str, database.addresses))
    assert (row["协议 Protocol"], row["端口 Port"]) == ("tcp", "5432")
    assert row["用途 Reason (zh)"] == "CRM 存取业务数据"


def test_directions_and_outside_places_are_said(tmp_path):
    run("flows", "--env", "small", "--sheet", tmp_path / "request.csv")
    rows = [dict(zip(HEADINGS, row, strict=True)) for row in of_csv(tmp_path / "request.csv")[1:]]
    inbound = next(row for row in rows if row["流量标识 Flow id"] == "internet>edge_https")
    assert (inbound["方向 Direction"], inbound["源 IPv4 Source IPv4"]) == ("入站 inbound", "任意 any")
    operators = next(row for row in rows if row["流量标识 Flow id"] == "operators>ssh")
    assert operators["源 IPv4 Source IPv4"] == "10.9.0.0/28"
    outbound = next(row for row in rows if row["流量标识 Flow id"] == "hosts>ntp")
    assert outbound["方向 Direction"] == "出站 outbound"
    assert any(
        row["方向 Direction"] == "站点间 between sites"
        and row["源名称 Source"] == "aud2"
        and row["端口 Port"] == "8200"
        for row in rows
    )


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_cell_is_never_a_formula(monkeypatch, text):
    """The model refuses most of these already; a sheet that leaves the house does not rest on that alone."""
    topology = Topology.of(load_environment("small"))
    pair = topology.allowed()[0]
    evil = type(pair)(**{**{name: getattr(pair, name) for name in pair.__dataclass_fields__}, "zh": text})
    monkeypatch.setattr(type(topology), "allowed", lambda _self: (evil,))
    row = next(csv.reader(io.StringIO(sheets.flow_sheet_csv(topology).split("\r\n", 1)[1])))
    assert row[13].startswith("'")
    book = openpyxl.load_workbook(io.BytesIO(sheets.flow_sheet_xlsx(topology)))
    cell = book.active.cell(2, 14)
    assert cell.data_type == "s"
    assert cell.value.startswith("'")


@pytest.mark.parametrize(
    ("name", "told"), [("request.ods", "is neither .xlsx nor .csv"), ("nowhere/request.csv", "No such file")]
)
def test_a_file_that_cannot_be_is_told(tmp_path, capsys, name, told):
    assert run("flows", "--env", "small", "--sheet", tmp_path / name) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert told in error
    assert "--sheet" in error
