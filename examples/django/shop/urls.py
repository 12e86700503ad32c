from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("backups/<path:part>", views.backup),
    path("invoices/<path:name>", views.invoice),
    path("sendfile/<path:name>", views.invoice_by_sendfile),
    path("admin/", admin.site.urls),
]
