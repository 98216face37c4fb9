package provider

import "slices"

// ModelHosts are the hosts of the models that the providers talk to, sorted.
func ModelHosts() (hosts []string) {
	for _, p := range all() {
		for _, c := range p.Credentials {
			hosts = append(hosts, c.Route.Host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
