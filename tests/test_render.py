"""The HTML page and the Markdown: self-contained, small, unharmed by hostile names, true to the report."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

import genmetrics_rt as gm
from genmetrics_rt.copying.report import CopyPair, CopyReport
from genmetrics_rt.copying.tail import CopiedShare, TailTest
from genmetrics_rt.render.names import display_width, shorten, visible
from genmetrics_rt.render.numbers import plain_number
from genmetrics_rt.report import Curve, LadderScale, Report, ScaleDamage, ScaleRung, SideSummary
from genmetrics_rt.tracking import Track
from tests import reports

HOSTILE = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1)",
    "</title></style></svg><script>alert(1)</script>",
    "<!-- --><![CDATA[ x",
    "&lt;b&gt; &#60;script&#62;",
    "a\nb\r\n\t\x1b[31mred\x1b[0m\x07\x9b31m.png",
    "photo\u202egpj.exe \u2066x\u2069 \u200f",
    "byte\udcff\ud800.png",
    "line\u2028para\u2029\ufeff\x00end",
    "| a | b | `c` ``d`` |\n|---|---|",
    "```\n# title\n- item",
    "![x](http://evil.example/x.png) [y](javascript:alert(1)) <http://evil.example>",
    "*bold* _em_ ~~no~~ \\| \\",
    "$x$ `",
    '"><script>alert(1)</script>' * 30,
    "",
]


def replaced(value: Any, text: str) -> Any:
    """The same record with ``text`` in the place of every string that is not a key of ours."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {"key", "severity"}
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{k: v if k in kept else replaced(v, text) for k, v in fields.items()})
    if isinstance(value, str):
        return text
    if isinstance(value, Mapping):
        return {key: replaced(entry, text) for key, entry in value.items()}
    return tuple(replaced(entry, text) for entry in value) if isinstance(value, tuple) else value


def assert_shapely(text: str) -> None:
    found = {character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert found <= {"\n"}


# Self-contained


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    page = reports.Page(text := reports.full().to_html())
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "base", "form", "audio", "video", "source", "use"}
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.having("src"))
    assert set(page.having("href")) == {"data:,", "#sides"}
    attributes = {key for _, entries in page.tags for key in entries}
    assert not attributes & {"srcset", "action", "data", "background", "xlink:href", "ping", "poster"}
    assert not [key for key in attributes if key.startswith("on")]
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.S)) + "".join(page.having("style"))
    assert "url(" not in styles and "@import" not in styles and "src:" not in styles


def test_the_policy_stands_before_everything_else() -> None:
    page = reports.Page(reports.full().to_html())
    metas = [attributes for tag, attributes in page.tags[:4] if tag == "meta"]
    assert metas[0] == {"charset": "utf-8"}
    assert metas[1]["http-equiv"] == "Content-Security-Policy"
    policy = dict(rule.strip().split(" ", 1) for rule in metas[1]["content"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_ids_are_unique_and_every_reference_arrives() -> None:
    page = reports.Page(reports.full(curves={"prd": reports.prd(), "other": reports.prd(1.5)}).to_html())
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    wanted = {name for value in page.having("aria-labelledby") for name in value.split()}
    assert wanted | {value[1:] for value in page.having("href") if value.startswith("#")} <= set(ids)


def test_the_same_report_gives_the_same_page() -> None:
    assert reports.full().to_html() == reports.full().to_html()


# Inside another page


def style_of(fragment: str) -> str:
    (style,) = re.findall(r"<style>\n(.*?)</style>", fragment, re.S)
    return style


def rules(style: str) -> list[tuple[str, str]]:
    """(what stands before the brace, what lies inside) of each rule, those inside others not counted."""
    found, depth, start, prelude = [], 0, 0, ""
    for place, character in enumerate(style):
        if character == "{":
            depth += 1
            if depth == 1:
                prelude, start = style[start:place].strip(), place + 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                found.append((prelude, style[start:place]))
                start = place + 1
    assert depth == 0 and not style[start:].strip()
    return found


def test_a_fragment_is_one_div_whose_style_reaches_nothing_outside() -> None:
    text = reports.full().to_html(fragment=True)
    page = reports.Page(text)
    assert page.tags[0] == ("div", {"class": "genmetrics", "lang": "en"}) and text.endswith("</div>\n")
    assert not {"html", "head", "body", "main", "footer", "meta", "link", "script"} & {tag for tag, _ in page.tags}
    ((selector, inside),) = rules(style_of(text))
    assert selector == ".genmetrics:not(#_)"
    assert inside.lstrip().startswith("all: initial;") and ":where(:not(svg, svg *)) { all: revert; }" in inside
    assert not re.search(r":root|\bhtml\b|\bbody\b|\bmain\b|\bfooter\b|@page|@import|url\(|/\*", inside)
    assert not re.search(r"\d(vw|vh|vmin|vmax|vi|vb)\b", inside) and "width: 100%;" in inside
    assert set(re.findall(r"@[a-z]+", inside)) == {"@media", "@container"}


def test_a_fragment_is_dark_where_its_host_is() -> None:
    """The same colours as the page; which of them is not the system's to say."""
    page, inside = (style_of(reports.full().to_html(fragment=kind)) for kind in (False, True))
    assert "prefers-color-scheme" in page and "prefers-color-scheme" not in inside
    colours = r"%s \{\s*(--scheme: \w+;.*?)\s*\}"
    light, dark, paper = (" ".join(found.split()) for found in re.findall(colours % ":root", page, re.S))
    assert [" ".join(found.split()) for found in re.findall(colours % "&", inside, re.S)] == [light, paper]
    (found,) = re.findall(r"@media screen \{\s*" + colours % r"&:is\(\.dark \*\)", inside, re.S)
    assert " ".join(found.split()) == dark and dark.startswith("--scheme: dark;") and inside.count(".dark") == 1
    assert "color-scheme: var(--scheme);" in inside


def test_a_fragment_says_what_the_page_says_one_heading_lower() -> None:
    page, inside = (reports.Page(reports.full().to_html(fragment=kind)) for kind in (False, True))
    assert inside.text.strip() == page.text.split("Made by genmetrics-rt")[0].strip()

    def headings(shown: reports.Page) -> list[int]:
        return [int(tag[1]) for tag, _ in shown.tags if re.fullmatch("h[1-6]", tag)]

    assert headings(inside) == [level + 1 for level in headings(page)] and min(headings(inside)) == 2
    style = style_of(reports.full().to_html(fragment=True))
    assert "h2, h3, h4, h5 {" in style and "h1" not in style


def test_two_fragments_on_one_page_share_no_id_and_every_anchor_arrives() -> None:
    curves = {"prd": reports.prd(), "other": reports.prd(1.5)}
    made = (
        reports.full(curves=curves),
        reports.report(),
        track(),
        copies(),
        gm.compare({"a": reports.full(), "b": reports.report()}),
    )
    fragments = [entry.to_html(fragment=True) for entry in made]
    assert all(entry.startswith('<div class="genmetrics"') for entry in fragments)
    assert len({style_of(entry) for entry in fragments}) == 1
    page = reports.Page(f"<div>{''.join(fragments)}</div>")
    ids = page.having("id")
    assert len(ids) == len(set(ids)) > 40 and all(entry.startswith("genmetrics-") for entry in ids)
    wanted = {name for value in page.having("aria-labelledby") for name in value.split()}
    (anchor,) = page.having("href")
    assert anchor.endswith("-sides") and wanted | {anchor[1:]} <= set(ids)


def track() -> Track:
    return Track({100: reports.report(), 200: reports.report()}, {})


def copies() -> CopyReport:
    """A search for copies with one pair."""
    base = reports.report()
    rows = np.zeros(1)
    pair = CopyPair("a.png", "b.png", 0, 0, 0.9, 1.0, 0.4, False, None, None, reports.jpeg(), reports.jpeg(1))
    return CopyReport(
        TailTest(0.5, 1.0, 1, 1, 0.5), CopiedShare(0.0, (0.0, 0.1), 0.2, 0, 0.1), "held-out", (pair,),
        {}, {"auth_pct": 50.0, "copying_z": 0.0}, (reports.finding(),), base.generated, base.reference, None,
        base.extractor, {}, base.runtime, base.created, base.version, rows, rows.astype(int), rows > 0, rows,
    )  # fmt: skip


def test_the_pair_of_a_search_for_copies_stays_together() -> None:
    (listed,) = re.findall(r'<ul class="pictures pairs">(.*?)</ul>', copies().to_html())
    assert listed.count("<li>") == 1 and listed.count("<img") == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_string_anywhere_does_no_harm_to_a_fragment(text: str) -> None:
    harmless = reports.Page(replaced(reports.full(), "some words").to_html(fragment=True))
    rendered = replaced(reports.full(), text).to_html(fragment=True)
    assert_shapely(rendered)
    page = reports.Page(rendered)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags}
    allowed = {(tag, key) for tag, entries in harmless.tags for key in entries} | {("bdi", "title")}
    assert {(tag, key) for tag, entries in page.tags for key in entries} <= allowed
    assert page.having("src") == harmless.having("src")
    assert all(re.fullmatch(r"genmetrics-[0-9a-f]{8}-[a-z0-9-]+", entry) for entry in page.having("id"))
    assert shorten(visible(text), 64) in page.text


def test_keys_of_a_report_from_elsewhere_do_no_harm() -> None:
    """Scores, curves and galleries go by keys, and a JSON file may hold any."""
    key = '"><img src=x onerror=alert(1)>'
    rung = ScaleRung("σ = 1 px", 1.0, 0.5, 1.5)
    scale = LadderScale(key, "Distance", 1.0, None, None, (ScaleDamage("Blur", (rung,)),), 9, 9, "")
    shown = reports.gallery("uncovered", ["a.png"])
    made = reports.report(
        scales=(scale,),
        scores={key: dataclasses.replace(reports.score("kid", 1.0), key=key)},
        curves={key: dataclasses.replace(reports.prd(), key=key)},
        galleries=(dataclasses.replace(shown, key=key),),
    )
    for kind in (False, True):
        assert "<img src=x" not in Report.from_json(made.to_json()).to_html(fragment=kind)


# Names


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("short.png", 9, "short.png"),
        ("averylongname.png", 10, "avery….png"),
        ("/home/me/out/run_17/0001.png", 20, "…/run_17/0001.png"),
        ("folder/" + "x" * 30 + ".png", 20, "folder/xxx…xxxxx.png"),
        ("out/" + "y" * 40 + "/", 20, "out/yyyyyy…yyyyyyyy/"),
    ],
)
def test_names_are_cut_where_they_tell_least(text: str, limit: int, cut: str) -> None:
    assert shorten(text, limit) == cut and len(cut) <= limit


# Hostile names


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_string_anywhere_does_no_harm_to_the_page(text: str) -> None:
    harmless = reports.Page(replaced(reports.full(), "some words").to_html())
    rendered = replaced(reports.full(), text).to_html()
    rendered.encode()
    assert_shapely(rendered)
    page = reports.Page(rendered)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags}
    allowed = {(tag, key) for tag, entries in harmless.tags for key in entries} | {("bdi", "title")}
    assert {(tag, key) for tag, entries in page.tags for key in entries} <= allowed
    assert page.having("href") == harmless.having("href") and page.having("src") == harmless.having("src")
    if text:  # without any, whole rows are left out
        assert len(page.tags) == pytest.approx(len(harmless.tags), abs=4 * len(reports.VALUES))
    assert shorten(visible(text), 64) in page.text  # the picture's caption shows what is in the name


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_string_anywhere_does_no_harm_in_a_terminal(text: str) -> None:
    for width in (40, 100):
        rendered = replaced(reports.full(), text).to_text(width=width)
        rendered.encode()
        assert_shapely(rendered)
        assert all(display_width(line) <= width for line in rendered.split("\n"))


def markdown(text: str) -> Iterator[Any]:
    """Every token of the text as GitHub reads it: CommonMark with HTML, tables and strikethrough."""
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        yield token
        yield from token.children or ()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_string_anywhere_does_no_harm_in_markdown(text: str) -> None:
    rendered = replaced(reports.full(), text).to_markdown()
    rendered.encode()
    assert_shapely(rendered)
    tokens = list(markdown(rendered))
    kinds = collections.Counter(token.type for token in tokens)
    assert not {"link_open", "image", "html_block", "fence", "code_block", "s_open", "hr"} & set(kinds)
    assert {token.content for token in tokens if token.type == "html_inline"} <= {"<br>", "<sub>", "</sub>"}
    assert kinds["heading_open"] == 1 and kinds["bullet_list_open"] == 1 and kinds["list_item_open"] == 3
    assert (kinds["tr_open"], kinds["th_open"], kinds["td_open"]) == (10, 5, 45)
    if shown := shorten(visible(text), 60).strip():
        assert any(token.type == "code_inline" and shown in token.content for token in tokens)


# What is shown


def test_every_score_is_there_with_its_words() -> None:
    report = reports.full()
    page, text, note = reports.Page(report.to_html()).text, report.to_text(width=40), report.to_markdown()
    for score in report.scores.values():
        first_sentence = score.meaning.split(". ")[0]  # a terminal has no room for more
        assert score.meaning in page and (score.reason or first_sentence) in " ".join(text.split())
    for shown in ("12.35", "0.08743", "0.8214", "0.4312", "0.9143", "0.7021", "0.9211", "0.9849"):
        assert shown in page and shown in text and f"**{shown}**" in note
    assert "training-free" in page and "training-free" in text and "Training-free" in note
    assert page.count("higher is better, best 1") == 6 and "a perfect model gets 0.9688" in page


def test_a_score_without_a_value_shows_its_reason() -> None:
    report = reports.full()
    assert re.search("no value.{0,30}No logits here[.]", reports.Page(report.to_html()).text)
    assert "No logits here." in report.to_text()
    (row,) = [line for line in report.to_markdown().split("\n") if "No logits here." in line]
    assert row.startswith("| Class score") and "| **–** |" in row
    silent = reports.report(scores={"fd": reports.score("fd", None)})
    for rendered in (silent.to_html(), silent.to_text(), silent.to_markdown()):
        assert "No reason was given." in rendered


def test_skipped_files_are_loud() -> None:
    entries = [(f"damaged_{index:03d}.png", "damaged") for index in range(150)] + [("notes.txt", "not an image file")]
    report = reports.report(reference=SideSummary(849, "real", "", reports.skipped(*entries)))
    page = reports.Page(report.to_html()).text
    assert page.index("Skipped: 151 of 1,000 reference files.") < page.index("In short")
    assert "151 files skipped. 150 × damaged, 1 × not an image file." in page
    assert "damaged_049.png" in page and "damaged_050.png" not in page and "and 101 more" in page
    told = "151 reference files: 150 × damaged (as damaged_000.png), 1 × not an image file (notes.txt)"
    text = " ".join(report.to_text().split())
    assert f"SKIPPED {told}" in text and text.index("SKIPPED") < text.index("weaker side")
    assert f"**Skipped:** {told}".replace("_", "\\_") in report.to_markdown()


def test_damaged_images_are_told_before_what_was_never_an_image() -> None:
    others = [(f"{index}.txt", "not an image file") for index in range(60)]
    middle = [("a.heic", ".heic images are not read; convert them to PNG")]
    report = reports.report(generated=SideSummary(9, "out", "", reports.skipped(*others, *middle, ("b.png", "damaged"),
                            ("c.png", "an empty file"), ("d.png", "an empty file"))))  # fmt: skip
    told = "64 generated files: 2 × an empty file (as c.png), 1 × damaged (b.png), 1 × .heic"
    assert told in " ".join(report.to_text().split()) and told in report.to_markdown()
    assert " ".join(report.to_text().split()).split("60 × not an image file (as 0.txt)")[1].startswith(" ")
    listed = re.findall(r"<li><bdi[^>]*>(.*?)</bdi>", report.to_html())
    assert listed[:5] == ["c.png", "d.png", "b.png", "a.heic", "0.txt"] and "59.txt" not in listed


@pytest.mark.parametrize(("times", "files", "page"), [(1, "1 other file", "all"), (46, "46 other files", "all"),
                                                      (47, "47 other files", "50 of them")])  # fmt: skip
def test_reasons_that_are_not_shown_are_counted_in_files(times: int, files: str, page: str) -> None:
    entries = [(f"{index}.png", f"damaged: {index}") for index in range(4)] + [("x.txt", "not an image file")] * times
    report = reports.report(generated=SideSummary(9, "out", "", reports.skipped(*entries)))
    told = f"damaged: 3 (3.png), and {files} (the JSON report names all, the HTML page {page})"
    assert told in " ".join(report.to_text().split()) and told in report.to_markdown().replace("\\", "")
    assert f"damaged: 3, and {files}." in reports.Page(report.to_html()).text


@pytest.mark.parametrize(("key", "value", "shown"), [("fd", -2.8e-14, "0"), ("fd", 2e-9, "2.000 × 10⁻⁹"),
                                                     ("kid", -2.8e-14, "−2.800 × 10⁻¹⁴")])  # fmt: skip
def test_a_frechet_distance_of_rounding_is_shown_as_0(key: str, value: float, shown: str) -> None:
    report = reports.report(scores={key: reports.score(key, value, details={})})
    text = report.to_html()
    assert text.count(f'<p class="value{" long" if len(shown) > 8 else ""}">{shown}</p>') >= 1
    assert f'<p class="value">{shown}</p>' in text and f"features: {shown} (1,797 generated" in reports.Page(text).text
    assert f"| **{shown}** |" in report.to_markdown()
    assert (" 0 " if shown == "0" else f" {plain_number(value)} ") in report.to_text()
    assert Report.from_json(report.to_json()).scores[key].value == value


def test_markdown_tells_the_subset_size_that_was_used() -> None:
    kid = reports.score("kid", 0.1, details={"subset_size_used": 30})
    (row,) = [line for line in reports.report(scores={"kid": kid}).to_markdown().split("\n") if "| **0.1" in line]
    assert "num subsets 100, subset size 30, degree 3" in row


def test_a_few_skipped_files_are_listed_without_a_click() -> None:
    def opened(count: int) -> bool:
        entries = reports.skipped(*((f"{index}.txt", "no image") for index in range(count)))
        return "Which files" not in reports.report(generated=SideSummary(9, "out", "", entries)).to_html()

    assert opened(5) and not opened(6)
    clean = reports.report()
    assert "SKIPPED" not in clean.to_text() and "Skipped" not in clean.to_html() + clean.to_markdown()


@pytest.mark.parametrize(("severity", "word"), [("problem", "Problem"), ("warning", "Warning"), ("info", "Note"),
                                                ("strange", "Note")])  # fmt: skip
def test_each_severity_has_its_word(severity: str, word: str) -> None:
    report = reports.report(findings=(reports.finding(severity),))
    page = report.to_html()
    assert f'<span class="badge">{word}</span> There are few images.' in page
    assert re.search(f"^{word} +There are few images. 1,797", report.to_text(), re.M)
    assert f"- **{word}: There are few images.** 1,797" in report.to_markdown()


def test_the_most_serious_finding_comes_first_and_none_leaves_no_heading() -> None:
    for rendered in (
        reports.Page(reports.full().to_html()).text,
        reports.full().to_text(),
        reports.full().to_markdown(),
    ):
        assert rendered.index("Problem") < rendered.index("Warning") < rendered.index("Note")
    assert 'id="findings"' not in reports.report().to_html()
    without_advice = reports.report(findings=(reports.finding(advice=""),))
    assert "images.\n" in without_advice.to_markdown() and "**\n" not in without_advice.to_markdown()


def test_an_empty_report_still_renders() -> None:
    empty = reports.report(scores={}, curves={}, galleries=(), generated=SideSummary(0, "", ""))
    page = reports.Page(empty.to_html())
    assert "In short" in page.text and not [tag for tag, _ in page.tags if tag in ("svg", "img")]
    assert "| Score" not in empty.to_markdown() and "value" not in empty.to_text()
    hollow = reports.report(curves={"prd": Curve("prd", "PRD", "recall", "precision", (), ())},
                            galleries=(reports.gallery("uncovered", []),))  # fmt: skip
    assert "curve-0" not in hollow.to_html() and hollow.to_markdown()


def test_a_curve_that_is_none_in_the_unit_square_is_not_drawn() -> None:
    for x in ((0.0, math.nan), (0.0, 1.5), (0.5,)):
        curve = Curve("prd", "PRD", "recall", "precision", x, tuple(1.0 for _ in x))
        assert "curve-0" not in reports.report(curves={"prd": curve}).to_html()


# Statistics without a count


def test_a_side_whose_number_of_images_nobody_knows() -> None:
    note = "Statistics only <of an unrecorded tool>; KID cannot be computed from it."
    side = SideSummary(None, "real_stats.npz", "", notes=(note,))
    shown = reports.full(reference=side)
    text, markdown, page = shown.to_text(width=200), shown.to_markdown(), shown.to_html()
    assert "real_stats.npz (an unknown number of images)" in text and note in text
    assert "an unknown number of reference images" in markdown and "Statistics only \\<of" in markdown
    assert "an unknown number of reference images" in page and "Statistics only &lt;of" in page
    assert "None" not in text + markdown + page
    both = dataclasses.replace(shown, generated=dataclasses.replace(side, notes=()))
    assert "None" not in both.to_text() + both.to_markdown() + both.to_html()
