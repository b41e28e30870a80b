# `make install`, `make uninstall`: put the built programs, the PAM module and the units in place, or take them away.
# Nothing in sudoers and no existing PAM service is changed: `elevate-agent enroll` does that, and says so.
#
# DESTDIR  a folder to install below, for packages
# PREFIX   /usr/local by default; packages say /usr
# PAMDIR   where libpam looks for modules; by default the folder of pam_unix.so
# BUILT    the folder of the built programs; by default cargo's release folder

.PHONY: install uninstall

DESTDIR ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
INSTALL ?= install
BUILT ?= $(TARGET)/release

BINDIR := $(PREFIX)/bin
SBINDIR := $(PREFIX)/sbin
SHAREDIR := $(PREFIX)/share
LIBEXECDIR := $(PREFIX)/libexec/elevate
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
TMPFILESDIR := $(PREFIX)/lib/tmpfiles.d

# The native folder comes first: a 32-bit one beside it would be of no use to a 64-bit sudo.
MACHINE := $(shell uname -m)
PAMDIR ?= $(patsubst %/,%,$(dir $(firstword $(wildcard \
	/usr/lib/$(MACHINE)-linux-gnu*/security/pam_unix.so /lib/$(MACHINE)-linux-gnu*/security/pam_unix.so \
	/usr/lib64/security/pam_unix.so /lib64/security/pam_unix.so \
	/usr/lib/security/pam_unix.so /lib/security/pam_unix.so /usr/lib/*/security/pam_unix.so))))

PACKAGING := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
UNITS := elevated.service elevate-agent.service elevate-link.service
NEEDED = $(addprefix $(BUILT)/,elevate elevatectl elevate-pages elevate-agent elevated elevate-link elevate-principals libpam_elevate.so)

install: ## put programs, PAM module and units in place (DESTDIR, PREFIX, PAMDIR)
	@missing=(); for file in $(NEEDED); do [[ -f "$$file" ]] || missing+=("$$file"); done; \
	if (( $${#missing[@]} )); then echo "error: not built: $${missing[*]}" >&2; echo 'hint: make release' >&2; exit 1; fi
	@[[ -n '$(PAMDIR)' ]] || { echo 'error: no folder with pam_unix.so found' >&2; \
		echo 'hint: make install PAMDIR=/path/of/security' >&2; exit 1; }
	@case '$(DESTDIR)$(PREFIX)$(PAMDIR)' in *[[:space:]\|\&\\]*) echo 'error: a path with a space or one of | & \' >&2; exit 1;; esac
	$(INSTALL) -D -m 0755 '$(BUILT)/elevate' '$(DESTDIR)$(BINDIR)/elevate'
	$(INSTALL) -D -m 0755 '$(BUILT)/elevatectl' '$(DESTDIR)$(BINDIR)/elevatectl'
	$(INSTALL) -D -m 0755 '$(BUILT)/elevate-agent' '$(DESTDIR)$(SBINDIR)/elevate-agent'
	$(INSTALL) -D -m 0755 '$(BUILT)/elevated' '$(DESTDIR)$(SBINDIR)/elevated'
	$(INSTALL) -D -m 0755 '$(BUILT)/elevate-link' '$(DESTDIR)$(LIBEXECDIR)/elevate-link'
	# Under another name first: sshd may ask it meanwhile. By root in folders of root, or sshd does not run it.
	$(INSTALL) -D -m 0755 '$(BUILT)/elevate-principals' '$(DESTDIR)$(LIBEXECDIR)/.principals.new'
	mv -f '$(DESTDIR)$(LIBEXECDIR)/.principals.new' '$(DESTDIR)$(LIBEXECDIR)/principals'
	# Manual pages and completions, as the parsers of the programs say.
	'$(BUILT)/elevate-pages' '$(DESTDIR)$(SHAREDIR)'
	# Under another name first: a sudo that loads the module meanwhile must find the old or the new one, never a part.
	$(INSTALL) -D -m 0644 '$(BUILT)/libpam_elevate.so' '$(DESTDIR)$(PAMDIR)/.pam_elevate.so.new'
	mv -f '$(DESTDIR)$(PAMDIR)/.pam_elevate.so.new' '$(DESTDIR)$(PAMDIR)/pam_elevate.so'
	$(INSTALL) -d -m 0755 '$(DESTDIR)$(UNITDIR)'
	for unit in $(UNITS); do \
		sed -e 's|@bindir@|$(BINDIR)|g' -e 's|@sbindir@|$(SBINDIR)|g' -e 's|@libexecdir@|$(LIBEXECDIR)|g' "$(PACKAGING)/systemd/$$unit" \
			> "$(DESTDIR)$(UNITDIR)/.$$unit.new"; \
		chmod 0644 "$(DESTDIR)$(UNITDIR)/.$$unit.new"; \
		mv -f "$(DESTDIR)$(UNITDIR)/.$$unit.new" "$(DESTDIR)$(UNITDIR)/$$unit"; \
	done
	$(INSTALL) -D -m 0644 '$(PACKAGING)/sysusers/elevate.conf' '$(DESTDIR)$(SYSUSERSDIR)/elevate.conf'
	$(INSTALL) -D -m 0644 '$(PACKAGING)/tmpfiles/elevate.conf' '$(DESTDIR)$(TMPFILESDIR)/elevate.conf'
	$(INSTALL) -d -m 0755 '$(DESTDIR)$(SYSCONFDIR)/elevate' '$(DESTDIR)$(SYSCONFDIR)/elevate/policy.d'
	# sshd's list of revoked certificates; the agent can write into it where it is there when the unit starts.
	$(INSTALL) -d -m 0755 '$(DESTDIR)$(SYSCONFDIR)/ssh/elevate'
	# A site may have put its own modules into this service: what is there stays, the new one is laid beside it.
	service='$(DESTDIR)$(SYSCONFDIR)/pam.d/elevate'; \
	if [[ -e "$$service" ]] && ! cmp -s '$(PACKAGING)/pam.d/elevate' "$$service"; then \
		echo "note: $$service was changed here and stays; the new one is elevate.new"; service+=.new; \
	fi; \
	$(INSTALL) -D -m 0644 '$(PACKAGING)/pam.d/elevate' "$$service"
	@if [[ -z '$(DESTDIR)' ]]; then \
		echo 'Installed; sudo and PAM behave as before. Next:'; \
		echo '  systemd-sysusers && systemd-tmpfiles --create elevate.conf && systemctl daemon-reload'; \
		echo '  on the machine of the daemon: elevated init       on a host: elevate-agent enroll'; \
	fi

uninstall: ## take away what install put in place; an enrolled host says `elevate-agent unenroll` first
	@if grep -qs pam_elevate '$(DESTDIR)$(SYSCONFDIR)/pam.d/sudo' '$(DESTDIR)$(SYSCONFDIR)/pam.d/sudo-i' || \
		[[ -e '$(DESTDIR)$(SYSCONFDIR)/sudoers.d/zz-elevate' || -e '$(DESTDIR)$(SYSCONFDIR)/ssh/sshd_config.d/20-elevate.conf' ]]; then \
		echo 'error: this host is enrolled' >&2; echo 'hint: elevate-agent unenroll' >&2; exit 1; \
	fi
	rm -f '$(DESTDIR)$(BINDIR)/elevate' '$(DESTDIR)$(BINDIR)/elevatectl' '$(DESTDIR)$(SBINDIR)/elevate-agent' \
		'$(DESTDIR)$(SBINDIR)/elevated' '$(DESTDIR)$(LIBEXECDIR)/elevate-link' '$(DESTDIR)$(LIBEXECDIR)/principals' '$(DESTDIR)$(PAMDIR)/pam_elevate.so' \
		$(addprefix '$(DESTDIR)$(UNITDIR)'/,$(UNITS)) \
		'$(DESTDIR)$(SYSUSERSDIR)/elevate.conf' '$(DESTDIR)$(TMPFILESDIR)/elevate.conf'
	for program in elevate elevatectl elevated elevate-agent elevate-link; do \
		rm -f '$(DESTDIR)$(SHAREDIR)'/man/man[18]/"$$program".[18] '$(DESTDIR)$(SHAREDIR)'/man/man[18]/"$$program"-*.[18] \
			'$(DESTDIR)$(SHAREDIR)'"/bash-completion/completions/$$program" '$(DESTDIR)$(SHAREDIR)'"/zsh/site-functions/_$$program" \
			'$(DESTDIR)$(SHAREDIR)'"/fish/vendor_completions.d/$$program.fish"; \
	done
	rmdir '$(DESTDIR)$(LIBEXECDIR)' 2> /dev/null || true
	# What was configured and recorded stays, and so does a service that the site has changed.
	if cmp -s '$(PACKAGING)/pam.d/elevate' '$(DESTDIR)$(SYSCONFDIR)/pam.d/elevate'; then \
		rm -f '$(DESTDIR)$(SYSCONFDIR)/pam.d/elevate'; \
	fi
	rmdir '$(DESTDIR)$(SYSCONFDIR)/ssh/elevate' 2> /dev/null || true
	rmdir '$(DESTDIR)$(SYSCONFDIR)/elevate/policy.d' '$(DESTDIR)$(SYSCONFDIR)/elevate' 2> /dev/null || true
