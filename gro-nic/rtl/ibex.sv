// Ibex as it comes, in its "maxperf" shape without PMP and bit manipulation, behind the ports that the bench drives; see
// cv32e40p.sv for what they mean.
module referee (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic [31:0] boot_addr_i,
    input  logic [31:0] trap_addr_i,
    input  logic        wake_i,
    output logic        sleep_o,

    output logic        instr_req_o,
    output logic [31:0] instr_addr_o,
    input  logic        instr_gnt_i,
    input  logic        instr_rvalid_i,
    input  logic [31:0] instr_rdata_i,

    output logic        data_req_o,
    output logic        data_we_o,
    output logic [ 3:0] data_be_o,
    output logic [31:0] data_addr_o,
    output logic [31:0] data_wdata_o,
    input  logic        data_gnt_i,
    input  logic        data_rvalid_i,
    input  logic [31:0] data_rdata_i,
    output logic [31:0] data_pc_o,
    output logic [31:0] data_exact_o,
    output logic [ 2:0] data_size_o,

    output logic        retires_at_issue_o,
    output logic        retire_o,
    output logic [31:0] retire_pc_o,
    output logic [31:0] trap_pc_o
);
  ibex_top #(
      .RV32M          (ibex_pkg::RV32MSingleCycle),
      .BranchTargetALU(1'b1),
      .WritebackStage (1'b1)
  ) top (
      .clk_i,
      .rst_ni,
      .test_en_i             (1'b0),
      .ram_cfg_i             ('0),
      .hart_id_i             (32'b0),
      // The core starts 0x80 above, and traps go to the address itself.
      .boot_addr_i           (trap_addr_i),
      .instr_req_o,
      .instr_gnt_i,
      .instr_rvalid_i,
      .instr_addr_o,
      .instr_rdata_i,
      .instr_rdata_intg_i    ('0),
      .instr_err_i           (1'b0),
      .data_req_o,
      .data_gnt_i,
      .data_rvalid_i,
      .data_we_o,
      .data_be_o,
      .data_addr_o,
      .data_wdata_o,
      .data_wdata_intg_o     (),
      .data_rdata_i,
      .data_rdata_intg_i     ('0),
      .data_err_i            (1'b0),
      .irq_software_i        (1'b0),
      .irq_timer_i           (1'b0),
      .irq_external_i        (wake_i),
      .irq_fast_i            ('0),
      .irq_nm_i              (1'b0),
      .scramble_key_valid_i  (1'b0),
      .scramble_key_i        ('0),
      .scramble_nonce_i      ('0),
      .scramble_req_o        (),
      .debug_req_i           (1'b0),
      .crash_dump_o          (),
      .double_fault_seen_o   (),
      .fetch_enable_i        (ibex_pkg::IbexMuBiOn),
      .alert_minor_o         (),
      .alert_major_internal_o(),
      .alert_major_bus_o     (),
      .core_sleep_o          (sleep_o),
      .scan_rst_ni           (1'b1)
  );

  assign retires_at_issue_o = 1'b0;
  assign retire_o = top.u_ibex_core.perf_instr_ret_wb;
  assign retire_pc_o = top.u_ibex_core.pc_wb;
  assign trap_pc_o = top.u_ibex_core.cs_registers_i.mepc_q;

  wire [1:0] size = top.u_ibex_core.load_store_unit_i.lsu_type_i;  // 0 word, 1 half word, else byte
  assign data_pc_o = top.u_ibex_core.pc_id;
  assign data_exact_o = top.u_ibex_core.load_store_unit_i.data_addr;
  assign data_size_o = size == 2'd0 ? 3'd4 : size == 2'd1 ? 3'd2 : 3'd1;

  wire unused = ^boot_addr_i;
endmodule

// The technology's cells. Of the clock gate cv32e40p.sv says why a wire does.
module prim_clock_gating (
    input  logic clk_i,
    input  logic en_i,
    input  logic test_en_i,
    output logic clk_o
);
  assign clk_o = clk_i;
  wire unused = en_i | test_en_i;
endmodule

module prim_buf #(
    parameter int Width = 1
) (
    input  logic [Width-1:0] in_i,
    output logic [Width-1:0] out_o
);
  assign out_o = in_i;
endmodule
