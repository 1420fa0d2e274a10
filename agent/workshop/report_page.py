"""The report as one HTML file that needs nothing beside it: no script, no font, no address. The one owner of jinja2."""

from __future__ import annotations

from importlib import resources

from agent.errors import ToolMissing, install_extra
from agent.workshop.report import Report
from agent.workshop.report_plots import plots

_TEMPLATE = "report.html.j2"


def page(report: Report) -> str:
    """The page's HTML; all text from manifests is escaped.

    Raises:
        ToolMissing: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ToolMissing("the report needs jinja2", fix=install_extra("report")) from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files("agent.workshop").joinpath(_TEMPLATE).read_text("utf-8"))
    pictures = [
        {
            title: Markup(_unique(svg, f"n{number}p{place}-"))
            for place, (title, svg) in enumerate(plots(network).items())
        }
        for number, network in enumerate(report.networks)
    ]
    return template.render(report=report, pictures=pictures)


def _unique(svg: str, prefix: str) -> str:
    """Ids of one picture must not be those of another's on the same page."""
    return svg.replace('id="', f'id="{prefix}').replace('"#', f'"#{prefix}').replace("url(#", f"url(#{prefix}")
