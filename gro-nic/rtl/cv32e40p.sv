// CV32E40P as it comes, without FPU and PULP extensions, behind the ports that the bench drives.
//
// What the bench must know beyond the bus (what retired, what trapped, what is misaligned) is read from inside the core by
// hierarchical name, so its sources stay as published.
module referee (
    input  logic        clk_i,
    input  logic        rst_ni,
    // First instruction, and where traps go.
    input  logic [31:0] boot_addr_i,
    input  logic [31:0] trap_addr_i,
    // Wakes the core out of `wfi`; enabled in mie, never taken, because mstatus.MIE stays 0.
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
    // With data_req_o: the address of the instruction, and the address and the bytes that it names, before the core splits it.
    output logic [31:0] data_pc_o,
    output logic [31:0] data_exact_o,
    output logic [ 2:0] data_size_o,

    // An instruction retires in this cycle, as the core's own minstret counts, and where it stands. Counted when it is issued
    // for execution or when it is through.
    output logic        retires_at_issue_o,
    output logic        retire_o,
    output logic [31:0] retire_pc_o,
    output logic [31:0] trap_pc_o
);
  cv32e40p_top #(
      .COREV_PULP(0),
      .COREV_CLUSTER(0),
      .FPU(0),
      .ZFINX(0),
      .NUM_MHPMCOUNTERS(1)
  ) top (
      .clk_i,
      .rst_ni,
      .pulp_clock_en_i    (1'b0),
      .scan_cg_en_i       (1'b0),
      .boot_addr_i,
      .mtvec_addr_i       (trap_addr_i),
      .dm_halt_addr_i     (32'b0),
      .hart_id_i          (32'b0),
      .dm_exception_addr_i(32'b0),
      .instr_req_o,
      .instr_gnt_i,
      .instr_rvalid_i,
      .instr_addr_o,
      .instr_rdata_i,
      .data_req_o,
      .data_gnt_i,
      .data_rvalid_i,
      .data_we_o,
      .data_be_o,
      .data_addr_o,
      .data_wdata_o,
      .data_rdata_i,
      .irq_i              ({20'b0, wake_i, 11'b0}),
      .irq_ack_o          (),
      .irq_id_o           (),
      .debug_req_i        (1'b0),
      .debug_havereset_o  (),
      .debug_running_o    (),
      .debug_halted_o     (),
      .fetch_enable_i     (1'b1),
      .core_sleep_o       (sleep_o)
  );

  // Instructions are counted when they are issued from ID: nothing younger than a trap gets that far.
  assign retires_at_issue_o = 1'b1;
  assign retire_o = top.core_i.id_stage_i.minstret;
  assign retire_pc_o = top.core_i.pc_id;
  assign trap_pc_o = top.core_i.cs_registers_i.mepc_q;

  wire [1:0] size = top.core_i.load_store_unit_i.data_type_ex_i;  // 0 word, 1 half word, else byte
  assign data_pc_o = top.core_i.pc_ex;
  assign data_exact_o = top.core_i.load_store_unit_i.data_addr_int;
  assign data_size_o = size == 2'd0 ? 3'd4 : size == 2'd1 ? 3'd2 : 3'd1;
endmodule

// The technology's clock gate. The bench stops the clock itself while the core sleeps, and the state that a gated clock
// would keep does not change in sleep, so a wire does and the falling edge need not be simulated.
module cv32e40p_clock_gate (
    input  logic clk_i,
    input  logic en_i,
    input  logic scan_cg_en_i,
    output logic clk_o
);
  assign clk_o = clk_i;
  wire unused = en_i | scan_cg_en_i;
endmodule
