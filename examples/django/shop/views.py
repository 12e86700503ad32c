"""Views that decide who may have a file, and leave sending it to the Caddy before them."""

from urllib.parse import quote

from django.conf import settings
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.utils.html import escape


def hand_over(header, place):
    """An answer without a body that names a file. Names may hold anything, headers may not: they are percent-encoded."""
    answer = HttpResponse()
    del answer["Content-Type"]  # Django's would be text/html; without one Caddy goes by the file's name
    answer[header] = quote(place)
    return answer


@staff_member_required
def index(request):
    names = sorted(p.name for p in settings.INVOICES.iterdir())
    links = "".join(f'<li><a href="/invoices/{quote(name)}">{escape(name)}</a>' for name in names)
    return HttpResponse(
        f'<form method="post" action="/backups/db.sqlite3"><button>The newest backup</button>'
        f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}"></form><ul>{links}</ul>'
    )


@staff_member_required
def backup(request, part):
    """The newest good backup of the shop, straight from the repository. Answers GET, and the POST of a form."""
    answer = hand_over("X-Accel-Redirect", f"/_backups/shop/latest/{part}")
    if part == "db.sqlite3":
        answer["Content-Type"] = "application/vnd.sqlite3"
        answer["Content-Disposition"] = 'attachment; filename="shop.sqlite3"'
    answer.set_cookie("had_backup", request.user.username)
    return answer


@staff_member_required
def invoice(request, name):
    """A file below the folder that the Caddyfile opens to /_protected/."""
    return hand_over("X-Accel-Redirect", f"/_protected/{name}")


@staff_member_required
def invoice_by_sendfile(request, name):
    """The same by the other header, which names the file itself."""
    return hand_over("X-Sendfile", f"{settings.INVOICES}/{name}")
