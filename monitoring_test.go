package caddybackup

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

const monitoring = "examples/monitoring"

// metricNames are the names of all metrics that we have.
func metricNames(t *testing.T) (names []string) {
	t.Helper()
	descs := make(chan *prometheus.Desc, 1000)
	for _, c := range []prometheus.Collector{totals.runs, totals.read, totals.added, totals.stored, gauges{}} {
		c.Describe(descs)
	}
	close(descs)
	for d := range descs {
		names = append(names, regexp.MustCompile(`fqName: "([a-z_]+)"`).FindStringSubmatch(d.String())[1])
	}
	return names
}

var metricName = regexp.MustCompile(`\bcaddy_backup_[a-z_]+`)

// TestMonitoringMetrics: what the examples of monitoring, and the README beside them, name is there; and all that there is, is
// named in that README.
func TestMonitoringMetrics(t *testing.T) {
	have := metricNames(t)
	for _, file := range []string{"dashboard.json", "alerts.yml", "alerts_test.yml", "alerts_slow_test.yml", "README.md"} {
		text := read(t, file)
		named := metricName.FindAllString(text, -1)
		if len(named) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range named {
			if !slices.Contains(have, name) {
				t.Errorf("%s names %s, which is no metric of ours", file, name)
			}
		}
		if file == "README.md" {
			for _, name := range have {
				if !slices.Contains(named, name) {
					t.Errorf("%s does not tell of %s", file, name)
				}
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(monitoring, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// dashboard is what of Grafana's format can be judged without it.
type dashboard struct {
	Title, UID string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []dashboardPanel
}

type dashboardPanel struct {
	ID          int
	Type, Title string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr, RefID string
		Datasource  struct{ UID string }
	}
}

// TestDashboard: the panels have names and places of their own, and ask the data source that the user chose.
func TestDashboard(t *testing.T) {
	d := parseDashboard(t)
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Name == "datasource" && v.Type != "datasource" {
			t.Errorf("the variable datasource is a %s", v.Type)
		}
	}
	if d.UID == "" || d.Title == "" || !variables["datasource"] {
		t.Errorf("no uid, no title, or no variable for the data source: %q, %q, %v", d.UID, d.Title, variables)
	}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || p.ID <= 0 {
			t.Errorf("panel %q has the ID %d, which is no ID or another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if p.Title == "" || g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %d, %q, is at %+v", p.ID, p.Title, g)
		}
		for _, q := range d.Panels[:i] {
			if o := q.GridPos; g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
				t.Errorf("panels %q and %q lie on each other", p.Title, q.Title)
			}
		}
		p.check(t, variables)
	}
}

// check looks at what a panel asks.
func (p dashboardPanel) check(t *testing.T, variables map[string]bool) {
	t.Helper()
	if p.Type == "row" {
		return
	}
	if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
		t.Errorf("panel %q asks %q, %d questions", p.Title, p.Datasource.UID, len(p.Targets))
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] || q.Datasource.UID != "${datasource}" || !metricName.MatchString(q.Expr) {
			t.Errorf("panel %q asks %q (%s) of %q", p.Title, q.Expr, q.RefID, q.Datasource.UID)
		}
		refs[q.RefID] = true
		for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
			if !variables[v[1]] {
				t.Errorf("panel %q uses the variable %s, which is not there", p.Title, v[0])
			}
		}
	}
}

func parseDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("the dashboard has no panel")
	}
	return d
}

// TestDashboardQueries has Prometheus's own tool parse what the dashboard asks.
func TestDashboardQueries(t *testing.T) {
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range parseDashboard(t).Panels {
		for _, q := range p.Targets {
			n++
			quoted, err := json.Marshal(q.Expr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&rules, "  - {record: 'dashboard:%d', expr: %s}\n", n, quoted)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := promtool(t, "check", "rules", file); !strings.Contains(out, fmt.Sprintf("%d rules found", n)) {
		t.Errorf("of %d: %s", n, out)
	}
}

// TestAlerts: Prometheus takes its configuration with the alerts, and each alert fires when it should and not otherwise.
func TestAlerts(t *testing.T) {
	promtool(t, "check", "config", filepath.Join(monitoring, "prometheus.yml"))
	files := []string{filepath.Join(monitoring, "alerts_test.yml"), filepath.Join(monitoring, "alerts_slow_test.yml")}
	if out := promtool(t, append([]string{"test", "rules"}, files...)...); strings.Count(out, "SUCCESS") != len(files) {
		t.Error(out)
	}
}

// TestAlertsTested: there is a case in which each alert fires, and one in which it does not.
func TestAlertsTested(t *testing.T) {
	tests := read(t, "alerts_test.yml") + read(t, "alerts_slow_test.yml")
	alerts := regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`).FindAllStringSubmatch(read(t, "alerts.yml"), -1)
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, a := range alerts {
		asked := regexp.QuoteMeta(`- expr: 'ALERTS{alertname="`+a[1]+`", alertstate="firing"}'`) + `\n\s*eval_time: \w+\n`
		for what, pattern := range map[string]string{
			"fires": asked + `\s*exp_samples:\n\s*- \{labels: 'ALERTS\{alertname="` + a[1] + `"`, "does not fire": asked + `\s*(- expr|- name|\n)`,
		} {
			if !regexp.MustCompile(pattern).MatchString(tests) {
				t.Errorf("there is no test in which %s %s", a[1], what)
			}
		}
	}
}

// promtool runs it, and gives what it printed.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(realtest.Need(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}
