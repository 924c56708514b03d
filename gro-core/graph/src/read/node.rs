//! One node.

use super::Result1;
use super::fields::{conditions, flag_fields, header_length, metadata, next, tlvs};
use super::object::{Context, Object, place};
use crate::error::Fault;
use crate::model::{Graph, Node};
use serde_json::Value;

pub(super) fn read(value: &Value, context: &mut Context, graph: &mut Graph) -> Result1<Node> {
    let mut object = Object::new(&place("node", value), value)?;
    let name = object.name()?;
    let min_length = object.small("min-hdr-length")?.unwrap_or(0);
    let length = header_length(&mut object, context)?;
    let next = next(&mut object, context, graph)?;
    let next_node = object.text("next-node")?;
    let next_node = next_node.map(|name| context.node(&object.place, name)).transpose()?;
    if next.is_some() && next_node.is_some() {
        return Err(object.wrong(Fault::Both("next-proto", "next-node")));
    }
    if object.has("array-parse-node") {
        return Err(object.wrong(Fault::Unsupported("\"array-parse-node\"")));
    }
    let (encap, overlay) = (object.flag("encap")?, object.flag("overlay")?);
    let conditions = conditions(&mut object, context)?;
    let metadata = metadata(&mut object, context)?;
    let tlvs = tlvs(&mut object, context, min_length)?;
    let flag_fields = flag_fields(&mut object, context, graph)?;
    let gro = super::gro::node(&mut object, context)?;
    for other in ["handler", "post-handler", "counter-actions", "unknown-proto-ret"] {
        object.unused(context, other);
    }
    object.end(context);
    Ok(Node {
        name,
        min_length,
        length,
        next,
        next_node,
        encap,
        overlay,
        conditions,
        metadata,
        tlvs,
        flag_fields,
        gro,
    })
}
