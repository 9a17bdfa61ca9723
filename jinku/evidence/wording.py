# SPDX-License-Identifier: Apache-2.0
"""The fixed words of the report in both languages."""

from typing import Final

WORDS: Final[dict[str, tuple[str, str]]] = {  # key -> (en, zh)
    "title": ("Security self-check report", "安全自查报告"),
    "kicker": (
        "GB/T 22239-2019 level {level} · ISO/IEC 27001:2022 · PIPL",
        "GB/T 22239-2019 第{level}级 · ISO/IEC 27001:2022 · 个人信息保护法",
    ),
    "selfcheck": ("This is a self-check (自查).", "本报告为自查报告。"),
    "selfcheck_text": (
        (
            "Only a licensed assessment body concludes a classified-protection assessment. What is not marked conform here is "
            "not proven; section 5 lists what no test looked at, section 4 says of every other item what is missing."
        ),
        "等级测评结论只能由具有资质的测评机构作出。未标为“符合”的内容均未被证明；没有测试查看的内容见第 5 节，其余未证明的要求项及其原因见第 4 节。",
    ),
    "environment": ("environment", "环境"),
    "profile": ("profile", "规格"),
    "backend": ("backend", "承载方式"),
    "checked": ("checked", "检查时间"),
    "took": ("took", "用时"),
    "seconds": ("s", "秒"),
    "commit": ("commit", "代码版本"),
    "nodes": ("nodes", "节点"),
    "items": ("items", "要求项"),
    "summary": ("Dengbao items", "等保要求项"),
    "pairs": ("item × object", "要求项 × 对象"),
    "rate": ("conformity rate", "符合率"),
    "no_rate": ("not stated while anything is not tested", "存在未测试项时不给出"),
    "observations": ("observations recorded", "条取证记录"),
    "tests_run": ("tests run", "项测试"),
    "conform": ("conform", "符合"),
    "partial": ("partial", "部分符合"),
    "nonconform": ("nonconform", "不符合"),
    "not_applicable": ("not applicable", "不适用"),
    "not_tested": ("not tested", "未测试"),
    "setting": ("setting", "配置核查"),
    "behaviour": ("behaviour", "行为测试"),
    "s_objects": ("1  What was looked at", "1  检查对象"),
    "s_findings": ("2  Findings", "2  发现的问题"),
    "s_matrix": ("3  Items by object", "3  要求项与对象对照"),
    "s_items": ("4  Results with evidence", "4  结果与证据"),
    "s_silent": ("5  What was not looked at", "5  未查看的内容"),
    "s_declared": ("6  Statements and waivers of the owner", "6  责任人声明与豁免"),
    "s_how": ("7  How to read the evidence", "7  证据说明"),
    "no_findings": ("No test failed.", "没有未通过的测试。"),
    "read_only": (
        "Only settings were looked at and nothing was tried; no item is proven by this check.",
        "本次仅核查配置，未做任何行为测试；任何要求项均不能由本次检查得到证明。",
    ),
    "only": ("This check was kept to", "本次检查仅限于"),
    "unreachable": ("Hosts that did not answer", "未应答的主机"),
    "filter": ("Show", "显示"),
    "all": ("all", "全部"),
    "object": ("object", "对象"),
    "class": ("class", "类别"),
    "site": ("site", "站点"),
    "zone": ("zone", "区域"),
    "tiers": ("tiers", "层"),
    "address": ("address", "地址"),
    "substrate": ("runs on", "承载"),
    "item": ("item", "要求项"),
    "verdict": ("verdict", "结论"),
    "reason": ("reason", "理由"),
    "owner": ("owner", "责任人"),
    "date": ("date", "日期"),
    "until": ("until", "有效期至"),
    "waived": ("waived", "已豁免"),
    "number": ("no.", "编号"),
    "exit": ("exit code", "返回码"),
    "at": ("at", "时间"),
    "output_at": ("output shown above", "输出见上文"),
    "cut": ("… shortened; the whole output is in the JSON document", "……已截断；完整输出见 JSON 文件"),
    "no_output": ("(no output)", "（无输出）"),
    "unit": ("unit", "测评单元"),
    "high_risk": ("high-risk case", "高风险判例"),
    "maps": ("also", "对应"),
    "nothing_declared": ("The owner has declared nothing.", "责任人未作声明。"),
    "how_text": (
        (
            "Every line comes from a command that was run on the named object during the check, or from a connection that the "
            "check opened. Secrets and personal data are masked. SHA-256 is taken over standard output followed by standard "
            "error, as they stand in the JSON document (masked). An item is conform on an object only if tests prove it both by "
            "the effective setting and by behaviour. A test that was skipped, broke, or met a host that did not answer says "
            "not tested."
        ),
        (
            "每条证据来自检查期间在所列对象上执行的命令，或检查程序建立的连接。口令、密钥与个人信息已遮盖。SHA-256 对 JSON 文件中（已遮盖的）"
            "标准输出与标准错误依次计算。一个要求项只有在有效配置与实际行为两方面均被证明时，才在该对象上记为符合。"
            "跳过、出错或主机未应答的测试一律记为未测试。"
        ),
    ),
    "silent_text": (
        "No verdict is given on these. They need a test, a person's statement in controls.yaml, or a walk-through.",
        "以下内容未作结论，需要补充测试、在 controls.yaml 中由责任人声明，或现场查验。",
    ),
    "frameworks": ("Other frameworks", "其他框架"),
    "c_host": ("host", "主机"),
    "c_network": ("network", "网络"),
    "c_database": ("database", "数据库"),
    "c_vault": ("vault", "密钥库"),
    "c_monitor": ("monitor", "监控"),
    "c_environment": ("machine room", "机房环境"),
    "c_application": ("application", "应用"),
    "c_edge": ("edge", "边界"),
    "c_log": ("log", "日志"),
    "c_backup": ("backup", "备份"),
    "r_proven": ("proven by setting and by behaviour", "配置与行为均已证明"),
    "r_no_test": ("no test yet", "尚无测试"),
    "r_no_test_on": ("nothing tested on objects of the class {classes}", "{classes}类对象尚无测试"),
    "and": (", ", "、"),
    "r_undeclared": ("only a person can judge it", "须由人判定"),
    "r_one_sided": ("only one side proven", "仅证明了一方面"),
    "r_not_run": ("left out of this run", "本次未运行"),
    "r_unreachable": ("host did not answer", "主机未应答"),
    "r_error": ("the test broke", "测试出错"),
    "r_unobserved": ("the test passed without having asked anything", "测试通过但未取得任何证据"),
    "r_skipped": ("the test declined to judge", "测试未作判断"),
    "r_failed": ("failed", "未通过"),
    "r_mixed": ("mixed", "部分通过"),
    "r_declared": ("declared", "责任人声明"),
    "container": ("container", "容器"),
    "vm": ("virtual machine", "虚拟机"),
    "hardware": ("hardware", "物理机"),
    "simulated": ("simulated", "模拟"),
    "unknown": ("unknown", "未知"),
    "manual": ("judged by a person", "人工判定"),
    "process": ("organisation", "管理"),
}


def words(language: str) -> dict[str, str]:
    """All words in ``language`` (``en`` or ``zh``)."""
    return {key: pair[language == "zh"] for key, pair in WORDS.items()}
