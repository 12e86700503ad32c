package notify

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Examine has the library read the URL, by which some of its services log in, and looks whether somebody listens where it
// leads to, if that is known.
func (s *Shoutrrr) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	if err := s.alone(ctx, func() error {
		_, err := new(router.ServiceRouter).Locate(s.url)
		return err
	}); err != nil {
		return diagnosis(backup.LevelError, "the library shoutrrr cannot use the url of %s: %v; its forms stand at "+
			"https://shoutrrr.nickfedor.com", s.service, s.unusable(err))
	}
	host, port, known := s.server()
	if !known {
		return diagnosis(backup.LevelNote, "the url has the form of %s; where it leads to only a test shows", s.service)
	}
	if err := reach(ctx, false, host, port); err != nil {
		return diagnosis(backup.LevelError, "%s: %v", s.service, err)
	}
	return diagnosis(backup.LevelOK, "%s: %s answers", s.service, net.JoinHostPort(host, port))
}

// unusable says why the library does not take a URL, as far as that holds no secret.
func (s *Shoutrrr) unusable(err error) error {
	if text := s.plainly(err).Error(); !strings.Contains(text, "not taken; see") {
		return errors.New(text)
	}
	return errors.New("a part of it is missing or has another form, or the server does not let us in")
}

// ownServers are those of services that have one only; with "" the server is the one that the URL names.
var ownServers = map[string]string{
	"discord": "discord.com", "telegram": "api.telegram.org", "pushover": "api.pushover.net", "pushbullet": "api.pushbullet.com",
	"googlechat": "chat.googleapis.com", "pagerduty": "events.pagerduty.com", "ifttt": "maker.ifttt.com",
	"bark": "", "generic": "", "gotify": "", "matrix": "", "mattermost": "", "ntfy": "", "rocketchat": "", "zulip": "",
}

// server is where a notification goes to; false when that is not known.
func (s *Shoutrrr) server() (host, port string, known bool) {
	own, known := ownServers[s.service]
	if !known || own != "" {
		return own, "443", known
	}
	u, err := url.Parse(s.url)
	if err != nil || u.Hostname() == "" {
		return "", "", false
	}
	if port = u.Port(); port != "" {
		return u.Hostname(), port, true
	}
	q, plain := u.Query(), strings.HasSuffix(u.Scheme, "+http")
	for name := range q {
		value := strings.ToLower(q.Get(name))
		switch strings.ToLower(name) {
		case "disabletls":
			plain = plain || value == "yes" || value == "true" || value == "1"
		case "scheme":
			plain = plain || value == "http"
		}
	}
	if plain {
		return u.Hostname(), "80", true
	}
	return u.Hostname(), "443", true
}
