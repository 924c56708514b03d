/* What Rust cannot call of DPDK: inline functions and struct rte_mbuf. */

#include <errno.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_gro.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_prefetch.h>
#include <rte_version.h>

#define MOST 128

/* As in mod.rs. */
enum kind { UNPARSED, TCP_IPV4, VXLAN };
enum { PREFETCH = 1, PARSE = 2 };

struct out {
	uint32_t len;
	uint32_t segs;
	uint32_t gso_size;
};

_Static_assert(sizeof(struct rte_mbuf) == 128, "the mbuf lies in front of a headroom of 128 bytes");
_Static_assert(RTE_PKTMBUF_HEADROOM == 128, "frames start 256 bytes into their element");

const char *gro_dpdk_version(void) { return rte_version(); }

/* 0, or an errno. */
int gro_dpdk_init(int argc, char **argv) { return rte_eal_init(argc, argv) < 0 ? rte_errno : 0; }

/* What the receive function of a driver writes for a frame of `len` bytes, 256 bytes into an element of `room`. */
void gro_dpdk_receive(uint8_t *element, uint32_t room, uint32_t len, int kind, uint32_t tag)
{
	struct rte_mbuf *m = (struct rte_mbuf *)element;

	m->buf_addr = element + sizeof(*m);
	m->buf_len = room - sizeof(*m);
	m->data_off = RTE_PKTMBUF_HEADROOM;
	m->refcnt = 1;
	m->nb_segs = 1;
	m->port = 0;
	m->ol_flags = tag ? RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED : 0;
	m->vlan_tci = tag;
	m->pkt_len = m->data_len = len;
	m->next = NULL;
	m->pool = NULL;
	m->tx_offload = 0;
	switch (kind) {
	case TCP_IPV4:
		m->packet_type = RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV4 | RTE_PTYPE_L4_TCP;
		m->l2_len = 14;
		m->l3_len = 20;
		m->l4_len = 32;
		break;
	case VXLAN:
		m->packet_type = RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV4 | RTE_PTYPE_L4_UDP | RTE_PTYPE_TUNNEL_VXLAN |
				 RTE_PTYPE_INNER_L2_ETHER | RTE_PTYPE_INNER_L3_IPV4 | RTE_PTYPE_INNER_L4_TCP;
		m->outer_l2_len = 14;
		m->outer_l3_len = 20;
		/* From the outer UDP header to the end of the inner Ethernet header. */
		m->l2_len = 8 + 8 + 14;
		m->l3_len = 20;
		m->l4_len = 32;
		break;
	default:
		m->packet_type = RTE_PTYPE_UNKNOWN;
	}
}

/* Packet types and lengths in software, as an application does whose NIC gives none. */
static void parse(struct rte_mbuf **burst, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct rte_net_hdr_lens lens;

		if (i + 4 < count)
			rte_prefetch0(rte_pktmbuf_mtod(burst[i + 4], void *));
		burst[i]->packet_type = rte_net_get_ptype(burst[i], &lens, RTE_PTYPE_ALL_MASK);
		burst[i]->l2_len = lens.l2_len;
		burst[i]->l3_len = lens.l3_len;
		burst[i]->l4_len = lens.l4_len;
	}
}

/* Coalesces a burst of at most 64 in place; gives the packets that remain. Flows and items are as many as the frames can be. */
unsigned int gro_dpdk_burst(uint8_t **elements, unsigned int count, int how)
{
	const struct rte_gro_param param = {
		.gro_types = RTE_GRO_TCP_IPV4 | (how & PARSE ? 0 : RTE_GRO_IPV4_VXLAN_TCP_IPV4),
		.max_flow_num = 64,
		.max_item_per_flow = 64,
	};
	struct rte_mbuf **burst = (struct rte_mbuf **)elements;

	if (how & PREFETCH)
		for (unsigned int i = 0; i < count; i++) {
			rte_prefetch0(elements[i] + 256);
			rte_prefetch0(elements[i] + 256 + 64);
		}
	if (how & PARSE)
		parse(burst, count);
	return rte_gro_reassemble_burst(burst, count, &param);
}

/* What became of a packet. */
struct out gro_dpdk_out(const uint8_t *element)
{
	const struct rte_mbuf *m = (const struct rte_mbuf *)element;

	return (struct out){ .len = m->pkt_len, .segs = m->nb_segs, .gso_size = m->tso_segsz };
}

/* Copies a packet's first bytes out, for a look at its headers. */
unsigned int gro_dpdk_read(const uint8_t *element, uint8_t *to, unsigned int most)
{
	unsigned int copied = 0;

	for (const struct rte_mbuf *m = (const struct rte_mbuf *)element; m && copied < most; m = m->next) {
		unsigned int part = RTE_MIN((unsigned int)m->data_len, most - copied);

		memcpy(to + copied, rte_pktmbuf_mtod(m, const void *), part);
		copied += part;
	}
	return copied;
}
