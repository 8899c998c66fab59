# SPDX-License-Identifier: MIT

dist_man1_MANS = $(wildcard $(srcdir)/docs/*.1)
dist_man5_MANS = $(wildcard $(srcdir)/docs/*.5)
EXTRA_DIST += $(wildcard $(srcdir)/docs/*.md $(srcdir)/docs/*.txt $(srcdir)/docs/*.json)
