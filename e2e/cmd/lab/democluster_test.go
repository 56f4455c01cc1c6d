//go:build install

package main

import "testing"

// TestDemoCluster: make demo-cluster shows the same as users install it.
func TestDemoCluster(t *testing.T) {
	told(t, (*demo).runKubelets,
		`== helm install`, `\$ helm .*install fairlead`, `Every pod was Ready`, `ipaddresspool\S*/first`,
		`huazi +LoadBalancer +\S+ +172\.25\.254\.50 +8080:`, `\$ helm .*test fairlead`, `Succeeded`,
		`outside\$ curl`, `huazi-\S+ 1`, `is the MAC address of node-\d: that node announces`,
		`== All of Fairlead is replaced`, `successfully rolled out`, `requests were answered`,
		`== The announcing node dies`, `the link of node-\d is cut and its kubelet killed`,
	)
}
