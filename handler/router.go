package handler

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// route is one row of a table of routes.
type route struct {
	method  string // GET answers HEAD too
	pattern string // a path of net/http's ServeMux, without method
	role    Role   // the smallest that may
	handle  func(*call) error
}

// unsafe reports whether the route may change something: then other sites and read-only callers are refused.
func (r route) unsafe() bool { return r.method != http.MethodGet }

// call is one request on its way through a route: it is authorised, and there is a Service.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	caller  Caller
	service *backup.Service
}

// router serves a table of routes. All that is the same for every route happens here, once: finding it, refusing other
// sites and too small roles, finding the Service, turning errors into answers.
type router struct {
	mux     *http.ServeMux
	caller  func(*http.Request) Caller
	service func() *backup.Service
	fail    func(*call, error) // answers with an error
}

// newRouter registers the routes. Methods are kept beside the mux, so that 404 and 405 are answers of ours.
func newRouter(rt *router, routes []route) *router {
	rt.mux = http.NewServeMux()
	endpoints := make(map[string]*endpoint)
	for _, r := range routes {
		e, ok := endpoints[r.pattern]
		if !ok {
			e = &endpoint{router: rt, methods: make(map[string]route)}
			endpoints[r.pattern] = e
			rt.mux.Handle(r.pattern, e)
		}
		e.methods[r.method] = r
	}
	return rt
}

// ServeHTTP hands only requests to the mux that hit an endpoint: the mux would answer others in plain text, or redirect
// them to an absolute path, which is wrong below a prefix that was stripped.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, _ := rt.mux.Handler(r)
	if _, ok := h.(*endpoint); ok {
		rt.mux.ServeHTTP(w, r)
		return
	}
	c := &call{w: w, r: r, caller: rt.caller(r)}
	if c.caller.Role < Viewer { // strangers do not learn what there is
		rt.fail(c, refusal(c.caller, Viewer))
		return
	}
	rt.fail(c, fmt.Errorf("no such address: %s: %w", r.URL.Path, backup.ErrNotFound))
}

// endpoint is what one pattern leads to.
type endpoint struct {
	router  *router
	methods map[string]route
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, caller: e.router.caller(r)}
	if err := e.serve(c); err != nil {
		e.router.fail(c, err)
	}
}

func (e *endpoint) serve(c *call) error {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := e.methods[method]
	if !ok {
		return e.wrongMethod(c)
	}
	if err := authorise(c, rt); err != nil {
		return err
	}
	if c.service = e.router.service(); c.service == nil {
		return fmt.Errorf("the backup app is not running: %w", backup.ErrClosed)
	}
	return rt.handle(c)
}

func (e *endpoint) wrongMethod(c *call) error {
	if c.caller.Role < Viewer {
		return refusal(c.caller, Viewer)
	}
	var allowed []string
	for m := range e.methods {
		allowed = append(allowed, m)
		if m == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return fmt.Errorf("%w: %s; use %s", errMethod, c.r.Method, strings.Join(allowed, " or "))
}

// crossOrigin refuses what a browser says comes from another site. Programs that are no browsers pass.
var crossOrigin = http.NewCrossOriginProtection()

func authorise(c *call, rt route) error {
	if rt.unsafe() {
		if err := crossOrigin.Check(c.r); err != nil {
			return fmt.Errorf("%w refused: %w", ErrCrossSite, err)
		}
	}
	if c.caller.Role < rt.role {
		return refusal(c.caller, rt.role)
	}
	if rt.unsafe() && c.caller.ReadOnly {
		return fmt.Errorf("%w: nothing can be changed here", ErrReadOnly)
	}
	return nil
}

// refusal tells people what role is missing, and strangers nothing.
func refusal(who Caller, needed Role) error {
	if who.Role < Viewer {
		return fmt.Errorf("%w: not signed in, or no role here; the server's log says what to add", ErrForbidden)
	}
	return fmt.Errorf("%w: this needs the role %s, and %q has the role %s", ErrForbidden, needed, who.Name, who.Role)
}
