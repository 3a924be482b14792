"""MLflow's pages of a real sweep, as a person sees them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.system

#: Selectors of MLflow's runs table and of Plotly's charts.
ROW = ".ag-center-cols-container [role=row]"
NAME = ".ag-pinned-left-cols-container [role=row] a"
HEADING = ".ag-header-cell"
CHART = ".js-plotly-plot"
NOTICE = ".ant-notification-notice, [role=alert]"


def rows(browser, count):
    return browser.wait(
        f"{count} runs", lambda: len(found := browser.texts(ROW)) == count and found
    )


def test_the_runs_table_has_the_columns_worth_seeing(browser, addresses, swept):
    browser.open(addresses["its runs"])
    shown = rows(browser, swept.runs)
    headings = [found.text for found in sorted(browser.all(HEADING), key=lambda e: e.rect["x"])]
    wanted = ("test/accuracy", "perf/samples_per_s", "perf/step_ms_median", "memory/peak_rss_mib")
    assert [h for h in headings if h in wanted] == list(wanted)
    names = [f"{engine}/mlp s{seed}" for engine in swept.engines for seed in range(swept.seeds)]
    assert sorted(browser.texts(NAME)) == sorted(names)
    assert all("0." in row for row in shown), "an accuracy in every row"
    assert "The same experiments in several frameworks" in browser.text()
    browser.picture("mlflow-runs")


def test_the_charts_lay_the_engines_over_each_other(browser, addresses, swept):
    browser.open(addresses["its charts"])
    script = """return Array.from(document.querySelectorAll('.js-plotly-plot')).map(
        plot => (plot._fullData || []).map(line => ({
            name: line.name, colour: (line.line || {}).color, width: (line.line || {}).width,
            x: Array.from(line.x || []), kind: line.type, mode: line.mode})))"""

    def curves():
        plots = browser.driver.execute_script(script)
        found = [lines for lines in plots if lines and lines[0]["kind"] == "scatter"]
        return found if len(found) >= 3 else None

    for lines in browser.wait("three charts of curves", curves):
        by_run = {line["name"]: line for line in lines}
        assert len(by_run) == swept.runs, "a line for each run"
        steps = {tuple(line["x"]) for line in lines}
        assert len(steps) == 1 and len(steps.pop()) == swept.epochs, "over the same epochs"
        colours = {name.split("/")[0]: line["colour"] for name, line in by_run.items()}
        assert len(set(colours.values())) == len(swept.engines), "a colour an engine"
    text = browser.text()
    assert "Learning by epoch" in text and "Speed, memory and result" in text
    browser.picture("mlflow-charts")


def test_the_parent_run_tells_the_verdicts(browser, addresses, swept):
    browser.open(addresses[f"verdicts of {swept.name}"])
    browser.click("Show more")
    table = browser.wait("the table of verdicts", lambda: browser.texts("table"))
    cells = [text.strip() for text in browser.texts("th")]
    for heading in ("engine", "test accuracy", "samples/s", "speed vs baseline", "proof"):
        assert heading in cells, table
    engines = [text.strip() for text in browser.texts("tbody td:first-child")]
    assert sorted(engines) == sorted(swept.engines)
    children = [f"{engine}/mlp s" for engine in swept.engines]
    browser.wait("its runs", lambda: all(child in browser.text() for child in children))
    text = browser.text()
    assert f"{swept.runs} runs ({swept.runs} ok)" in text
    assert "fwcompare -m framework=" in text and "fwcompare report example" in text
    browser.picture("mlflow-sweep")


@pytest.mark.parametrize(
    ("link", "seen"),
    [("Runs", "matching runs"), ("curves and speeds", "Learning by epoch"),
     ("a run of each side by side", "Show diff only"), ("the whole report", "report.html")],
    ids=["runs", "charts", "compare", "report"],
)  # fmt: skip
def test_every_link_of_the_description_leads_somewhere(browser, addresses, swept, link, seen):
    browser.open(addresses[f"verdicts of {swept.name}"])
    anchors = f"//a[normalize-space(text())='{link}'][contains(@href, '#/') and @target]"
    find = browser.driver.find_elements
    address = browser.wait(link, lambda: find("xpath", anchors))[0].get_attribute("href")
    browser.open(address)
    browser.wait(seen, lambda: seen in browser.text())
    assert not browser.texts(NOTICE) or "shared view" in " ".join(browser.texts(NOTICE))


def test_the_compare_page_sets_the_engines_side_by_side(browser, addresses, swept):
    browser.open(addresses[f"verdicts of {swept.name}"])
    anchors = "a[href*='compare-runs']"
    address = browser.wait("the link", lambda: browser.all(anchors))[0].get_attribute("href")
    browser.open(address, height=1250)
    title = f"Comparing {len(swept.engines)} Runs from 1 Experiment"
    browser.wait(title, lambda: title in browser.text())
    for engine in swept.engines:
        assert f"{engine}/mlp s0" in browser.text()
    browser.wait("a chart", lambda: browser.all(CHART))
    browser.picture("mlflow-compare")


def test_the_report_is_read_inside_mlflow(browser, addresses, swept):
    address = addresses[f"verdicts of {swept.name}"].partition("?")[0]
    browser.open(f"{address}/artifacts/report.html")
    frame = browser.wait("the report", lambda: browser.all("iframe"))[0]
    browser.driver.switch_to.frame(frame)
    try:
        browser.wait("its verdicts", lambda: "samples/s" in browser.text())
    finally:
        browser.driver.switch_to.default_content()
    browser.picture("mlflow-report")


def test_a_run_says_what_it_is(browser, addresses, swept):
    browser.open(addresses["its runs"])
    rows(browser, swept.runs)
    browser.open(browser.all(NAME)[0].get_attribute("href"))
    browser.wait("its description", lambda: "trains" in browser.text())
    text = browser.text()
    assert "digits" in text and "Run folder:" in text
    assert "perf/samples_per_s" in text and "trainer.epochs" in text


def test_a_visitor_finds_the_sweeps_without_any_link(browser, addresses, swept):
    """From the list of experiments, over the menu of views."""
    browser.open(addresses["MLflow UI"] + "/#/experiments")
    browser.wait("the experiment", lambda: "fwcompare" in browser.text())
    browser.open(addresses["sweeps"].partition("?")[0] + "?workflowType=machine_learning")
    browser.wait("the menu", lambda: browser.all("[data-testid=saved-views-trigger]"))[0].click()
    for title in ("Sweeps", "Runs of all sweeps", "Mean over seeds"):
        browser.wait(title, lambda title=title: title in browser.text())
    browser.click("Sweeps")
    assert browser.wait("one sweep", lambda: browser.texts(NAME)) == [swept.name]
    (row,) = rows(browser, 1)
    assert "proven" in row and "mlp" in row


def test_the_mean_over_seeds_is_a_row_for_each_arm(browser, addresses, swept):
    address = addresses["sweeps"].replace("fwcompare-sweeps", "fwcompare-arms")
    browser.open(address)
    rows(browser, swept.runs + len(swept.engines))
    groups = [line for line in browser.texts(".ag-pinned-left-cols-container [role=row]")
              if "Group:" in line]  # fmt: skip
    assert len(groups) == len(swept.engines)
    for engine in swept.engines:
        assert any(f"fwcompare.label: {engine}" in group for group in groups)
