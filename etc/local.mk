# SPDX-License-Identifier: MIT
#
# What is installed beside the program: units, the service's user, completions, and a sample
# configuration. Directories are below the prefix; a packager sets them on make's command line.

systemdsystemunitdir = $(prefix)/lib/systemd/system
systemduserunitdir = $(prefix)/lib/systemd/user
sysusersdir = $(prefix)/lib/sysusers.d
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
fishcompletiondir = $(datadir)/fish/vendor_completions.d
examplesdir = $(docdir)/examples

dist_zshcompletion_DATA = etc/completion/_adit
dist_fishcompletion_DATA = etc/completion/adit.fish
dist_examples_DATA = etc/adit.conf
etc_files = etc/completion/adit.bash etc/systemd/adit.service.in \
	etc/systemd/adit-user.service.in etc/systemd/adit.sysusers
EXTRA_DIST += $(etc_files)

# These are installed under other names than theirs.
install-data-local:
	$(MKDIR_P) "$(DESTDIR)$(systemdsystemunitdir)" "$(DESTDIR)$(systemduserunitdir)" \
		"$(DESTDIR)$(sysusersdir)" "$(DESTDIR)$(bashcompletiondir)"
	$(SED) 's|@bindir[@]|$(bindir)|g' $(srcdir)/etc/systemd/adit.service.in \
		>"$(DESTDIR)$(systemdsystemunitdir)/adit.service"
	$(SED) 's|@bindir[@]|$(bindir)|g' $(srcdir)/etc/systemd/adit-user.service.in \
		>"$(DESTDIR)$(systemduserunitdir)/adit.service"
	$(INSTALL_DATA) $(srcdir)/etc/systemd/adit.sysusers "$(DESTDIR)$(sysusersdir)/adit.conf"
	$(INSTALL_DATA) $(srcdir)/etc/completion/adit.bash "$(DESTDIR)$(bashcompletiondir)/adit"

uninstall-local:
	rm -f "$(DESTDIR)$(systemdsystemunitdir)/adit.service" \
		"$(DESTDIR)$(systemduserunitdir)/adit.service" \
		"$(DESTDIR)$(sysusersdir)/adit.conf" "$(DESTDIR)$(bashcompletiondir)/adit"

# Manual, completions and sample agree with the program.
script_tests += tests/check-docs.sh
